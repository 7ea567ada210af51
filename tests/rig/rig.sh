#!/bin/sh
# A sound card pair without a sound card: a private PulseAudio with two null sinks, all in one folder.
#   rig.sh start DIR   starts the server (again); prints nothing, fails with what to install or the server's log
#   rig.sh kill DIR    kills it without warning
#   rig.sh env DIR     prints the environment that programs on this rig need, one NAME=VALUE a line
# Play a guitar: paplay --device=guitar take.wav    Record what is said: parecord --device=speakers.monitor out.wav
# norewinds=1: without it the first half second of a stream is lost. The server ends 30 s after its last client.
set -eu
dir=$2
[ "${#dir}" -lt 90 ] || { echo "$dir is too long a path for a socket" >&2; exit 1; }

environment() {
    echo "XDG_RUNTIME_DIR=$dir"
    echo "PULSE_SERVER=unix:$dir/pulse.sock"
    echo "PULSE_COOKIE=$dir/cookie"
    echo "ALSA_CONFIG_PATH=$dir/alsa.conf"
}

case $1 in
env) environment ;;
kill) kill -KILL "$(cat "$dir/pid")" ;;
start)
    for program in pulseaudio pactl paplay parecord; do
        command -v "$program" >/dev/null || {
            echo "$program is missing: apt-get install -y --no-install-recommends pulseaudio pulseaudio-utils libasound2-plugins" >&2
            exit 1
        }
    done
    mkdir -p "$dir" && chmod 700 "$dir" && rm -f "$dir/pulse.sock"
    cat > "$dir/pulse.pa" <<P
.fail
load-module module-native-protocol-unix auth-anonymous=1 socket=$dir/pulse.sock
load-module module-null-sink sink_name=guitar format=float32le rate=48000 channels=1 channel_map=mono norewinds=1 sink_properties=device.description=Guitar
load-module module-null-sink sink_name=speakers format=float32le rate=48000 channels=2 norewinds=1 sink_properties=device.description=Speakers
set-default-sink speakers
set-default-source guitar.monitor
P
    cat > "$dir/asound" <<P
pcm.!default { type pulse }
ctl.!default { type pulse }
pcm.guitar_in { type pulse device guitar.monitor hint { show on description "guitar_in" } }
pcm.speakers { type pulse device speakers hint { show on description "speakers" } }
P
    printf '</usr/share/alsa/alsa.conf>\n<%s/asound>\n' "$dir" > "$dir/alsa.conf"
    for setting in $(environment); do export "${setting?}"; done
    setsid nohup pulseaudio -n --daemonize=no --exit-idle-time=30 --use-pid-file=no --realtime=no \
        --high-priority=no -F "$dir/pulse.pa" </dev/null > "$dir/pulse.log" 2>&1 &
    echo $! > "$dir/pid"
    tries=0
    until pactl info >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 250 ] || { cat "$dir/pulse.log" >&2; exit 1; }
        sleep 0.02
    done
    # The server at real-time priority, as a desktop's rtkit would do; where that is forbidden the rig works less exactly.
    chrt -a -f -p 20 "$(cat "$dir/pid")" 2>/dev/null || true
    ;;
*) echo "usage: rig.sh start|kill|env DIR" >&2; exit 2 ;;
esac
