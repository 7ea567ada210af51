//! The Hub inside the daemon, or by itself: finds it a port, serves it for as long as the program lives.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::hub::{Hub, Link, Parts};
use crate::store::Store;

/// Ports tried after the one that is set, when it is taken: more daemons than that on one machine are no accident.
const NEXT_PORTS: u16 = 20;

/// A Hub that is being served.
#[derive(Debug)]
pub struct Served {
    /// Its address for a browser on this machine.
    pub url: String,
    /// What the player should know about it.
    pub remark: Option<String>,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Served {
    /// Cuts its connections and waits for its end.
    pub async fn stop(self) {
        self.stop.cancel();
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!("the Hub ended with {e}"),
            Err(e) => tracing::error!("the Hub was lost: {e}"),
        }
    }
}

/// Opens the port and serves; without a `link` there is no daemon that plays.
///
/// # Errors
/// One line: no port can be had.
pub async fn start(config: &Config, store: Store, link: Option<Link>) -> Result<Served, String> {
    let (listener, remark) = listen(SocketAddr::new(config.hub.bind, config.hub.port)).await?;
    let at = listener.local_addr().map_err(|e| format!("the Hub has no address ({e})"))?;
    let stop = CancellationToken::new();
    let hub = Hub::new(Parts { config: config.clone(), store, link });
    let task = tokio::spawn(hub.serve(listener, stop.clone()));
    Ok(Served { url: url(at), remark, stop, task })
}

/// How a browser on this machine reaches a Hub that listens at `at`.
fn url(at: SocketAddr) -> String {
    let host = match at.ip() {
        ip if ip.is_unspecified() && ip.is_ipv4() => "127.0.0.1".to_owned(),
        ip if ip.is_unspecified() => "[::1]".to_owned(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        ip @ std::net::IpAddr::V4(_) => ip.to_string(),
    };
    format!("http://{host}:{}", at.port())
}

/// A listener at this address or, when another program has its port, at one of the next ports, with a remark.
async fn listen(wanted: SocketAddr) -> Result<(TcpListener, Option<String>), String> {
    let first = wanted.port();
    let last = if first == 0 { 0 } else { first.saturating_add(NEXT_PORTS) };
    for port in first..=last {
        match TcpListener::bind(SocketAddr::new(wanted.ip(), port)).await {
            Ok(listener) if port == first => return Ok((listener, None)),
            Ok(listener) => {
                let remark = format!("port {first} is taken: the Hub uses {port} (hub.port sets another)");
                return Ok((listener, Some(remark)));
            }
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(e) => {
                return Err(format!("no Hub: {wanted} cannot be opened ({e}); set hub.bind and hub.port"));
            }
        }
    }
    Err(format!("no Hub: the ports {first} to {last} are taken; choose another with hub.port, or 0 for any"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_stepped_over_and_said() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (taken, remark) = listen(any).await.unwrap();
        assert_eq!(remark, None);
        let taken = taken.local_addr().unwrap();
        let (next, remark) = listen(taken).await.unwrap();
        assert!(next.local_addr().unwrap().port() > taken.port());
        assert!(remark.unwrap().contains(&format!("port {} is taken", taken.port())));
    }

    #[tokio::test]
    async fn an_address_that_is_not_ours_is_one_line() {
        // TEST-NET-1 (RFC 5737) belongs to no machine.
        let error = listen("192.0.2.1:0".parse().unwrap()).await.unwrap_err();
        assert!(
            error.contains("192.0.2.1") && error.contains("hub.bind") && !error.contains('\n'),
            "{error}"
        );
    }

    #[test]
    fn the_address_shown_is_one_that_a_browser_here_can_open() {
        for (at, shown) in [
            ("127.0.0.1:8420", "http://127.0.0.1:8420"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:81", "http://[::1]:81"),
            ("[fe80::1]:82", "http://[fe80::1]:82"),
            ("192.168.1.5:83", "http://192.168.1.5:83"),
        ] {
            assert_eq!(url(at.parse().unwrap()), shown);
        }
    }
}
