# Sourced by rgw.sh and swift.sh: background processes of one folder, each with a pid file and a log.
# The folder has run/ and log/; $folder is set by the script.

# launch NAME COMMAND...   starts a process that outlives the script
launch() {
  local name=$1
  shift
  nohup "$@" >>"$folder/log/$name.out" 2>&1 </dev/null &
  echo $! >"$folder/run/$name.pid"
}

# alive NAME   true while the process runs
alive() {
  [ -f "$folder/run/$1.pid" ] && kill -0 "$(cat "$folder/run/$1.pid")" 2>/dev/null
}

# end NAME...   asks each to stop, waits up to 10 s, then insists
end() {
  local name tries
  for name in "$@"; do
    if alive "$name"; then kill "$(cat "$folder/run/$name.pid")" 2>/dev/null || true; fi
  done
  for name in "$@"; do
    for ((tries = 0; tries < 100; tries++)); do
      alive "$name" || break
      sleep 0.1
    done
    if alive "$name"; then kill -9 "$(cat "$folder/run/$name.pid")" 2>/dev/null || true; fi
    rm -f "$folder/run/$name.pid"
  done
}

# await_answer SECONDS URL NAME...   waits until URL answers anything; fails at once when a process has died
await_answer() {
  local seconds=$1 url=$2 name tries
  shift 2
  for ((tries = 0; tries < seconds * 5; tries++)); do
    if curl --silent --max-time 2 --output /dev/null "$url"; then return 0; fi
    for name in "$@"; do
      if ! alive "$name"; then
        echo "$name ended:" >&2
        tail -n 20 "$folder/log/$name.out" >&2
        return 1
      fi
    done
    sleep 0.2
  done
  echo "no answer from $url after $seconds s" >&2
  return 1
}
