//! The listener with manners: nobody holds connections open for nothing, and small messages leave at once.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};

/// Longest time from the first byte of a request to the first byte of its answer: a little more than an answer may take,
/// so that a client that sends its request drop by drop is cut too.
const ANSWERED_WITHIN: Duration = Duration::from_secs(100);
/// Longest silence on a connection; event streams write more often.
const IDLE: Duration = Duration::from_secs(75);
/// Connections that one address may hold: a household's browsers with all their tabs.
const PER_PEER: usize = 64;

/// Accepts connections.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    answered_within: Duration,
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Door {
    /// Stands before a listener.
    #[must_use]
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, answered_within: ANSWERED_WITHIN, held: Arc::default() }
    }
}

impl Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            if let Some(place) = Place::of(&self.held, peer.ip()) {
                // Events are small and must not wait for more. Where it fails they come a little later.
                let _ = stream.set_nodelay(true);
                let guest = Guest {
                    stream,
                    answered_within: self.answered_within,
                    patience: Box::pin(sleep(IDLE)),
                    asked: false,
                    _place: place,
                };
                return (guest, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Address of the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// One of the places of an address, given back when dropped.
#[derive(Debug)]
struct Place {
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
    peer: IpAddr,
}

impl Place {
    fn of(held: &Arc<Mutex<HashMap<IpAddr, usize>>>, peer: IpAddr) -> Option<Self> {
        let mut table = held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = table.entry(peer).or_default();
        if *count >= PER_PEER {
            return None;
        }
        *count += 1;
        Some(Self { held: Arc::clone(held), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = table.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.peer);
            }
        }
    }
}

/// A connection that is cut when nothing comes of it.
#[derive(Debug)]
pub struct Guest {
    stream: TcpStream,
    answered_within: Duration,
    patience: Pin<Box<Sleep>>,
    /// Something was read since the last byte was written.
    asked: bool,
    _place: Place,
}

impl Guest {
    fn wait(&mut self, time: Duration) {
        self.patience.as_mut().reset(Instant::now() + time);
    }

    /// What a pending operation says: still pending, or out of patience.
    fn pending<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match self.patience.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.pending(cx),
            done => {
                self.asked = false;
                self.wait(IDLE);
                done
            }
        }
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_pending() {
            return self.pending(cx);
        }
        // Only the first byte of a request starts its clock.
        if !std::mem::replace(&mut self.asked, true) {
            let within = self.answered_within;
            self.wait(within);
        }
        read
    }
}

impl AsyncWrite for Guest {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn one_address_does_not_take_all_places() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut door = Door::new(listener);
        let at = Listener::local_addr(&door).unwrap();
        let mut guests = Vec::new();
        let mut clients = Vec::new();
        for _ in 0..PER_PEER {
            clients.push(TcpStream::connect(at).await.unwrap());
            guests.push(door.accept().await);
        }
        let mut turned_away = TcpStream::connect(at).await.unwrap();
        let waiting = tokio::spawn(async move { door.accept().await.0 });
        let mut byte = [0];
        assert!(!turned_away.read(&mut byte).await.is_ok_and(|n| n > 0), "it is closed");
        guests.pop();
        let mut client = TcpStream::connect(at).await.unwrap();
        let mut guest = waiting.await.unwrap();
        client.write_all(b"x").await.unwrap();
        assert_eq!(guest.read(&mut byte).await.unwrap(), 1, "a place that is given back is free");
    }

    #[tokio::test]
    async fn who_sends_drop_by_drop_is_cut() {
        let within = Duration::from_millis(300);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut door = Door { answered_within: within, ..Door::new(listener) };
        let (client, (mut guest, _)) = tokio::join!(TcpStream::connect(at), door.accept());
        let mut client = client.unwrap();
        let begun = Instant::now();
        let drops = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        });
        let mut byte = [0];
        let kind = loop {
            if let Err(e) = guest.read_exact(&mut byte).await {
                break e.kind();
            }
        };
        assert_eq!(kind, io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= within);
        drop(guest);
        drops.await.unwrap();
    }
}
