#!/usr/bin/env bash
# Trains the quickstart on ranks that reach each other over TCP alone: two network namespaces of this machine with a bridge between
# them stand for two machines. Compares what 1, 2 and 4 ranks leave, to the byte; compares the bytes that went over the wire with the
# formula of docs/scaling.md; cuts the cable of a run and sees that both sides end. Linux, as root; Open MPI and `ip`.
#
# scripts/check_ranks_network.sh [KILN]      KILN: the binary, built with --features mpi
set -euo pipefail
cd "$(dirname "$0")/.."
kiln=$(realpath "${1:-${CARGO_TARGET_DIR:-$HOME/.cache/kiln-target}/release/kiln}")
work=$(mktemp -d)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

down() {
  for space in kiln-h kiln-a kiln-b; do
    ip netns pids $space 2>/dev/null | xargs -r kill -KILL 2>/dev/null || true
    ip netns delete $space 2>/dev/null || true
  done
}
trap 'down; rm -rf "$work"' EXIT
down

# kiln-h has mpirun and the bridge, kiln-a and kiln-b a machine each.
for space in kiln-h kiln-a kiln-b; do
  ip netns add $space
  ip -n $space link set lo up
done
ip -n kiln-h link add name kilnbr type bridge
ip -n kiln-h addr add 10.77.0.1/24 dev kilnbr
ip -n kiln-h link set kilnbr up
host=11
for space in kiln-a kiln-b; do
  ip link add v-$space netns kiln-h type veth peer name eth0 netns $space
  ip -n kiln-h link set v-$space master kilnbr
  ip -n kiln-h link set v-$space up
  ip -n $space addr add 10.77.0.$host/24 dev eth0
  ip -n $space link set eth0 up
  host=$((host + 1))
done

# What mpirun starts its daemons with, in place of ssh.
cat > "$work/agent" <<'AGENT'
#!/usr/bin/env bash
host=$1
shift
case $host in 10.77.0.11) space=kiln-a ;; 10.77.0.12) space=kiln-b ;; *) exit 9 ;; esac
exec ip netns exec $space sh -c "$*"
AGENT
chmod +x "$work/agent"

# 60 steps of four batches, with dropout, clipping and decay.
recipe="recipes/quickstart.toml training.max_steps=60 training.batch_size=8 training.global_batch_size=32 training.logging_steps=60
  evaluation.every_steps=60 checkpoint.every_steps=60 evaluation.test=false optimizer.max_grad_norm=1.0 optimizer.weight_decay=0.01
  device.backend=flex device.threads=1 data.cache=$work/cache"

# over RANKS ARGUMENT...: half of the ranks on each side. Two daemons of one machine fall over each other in hwloc's shared memory.
over() {
  local ranks=$1
  shift
  # shellcheck disable=SC2086
  ip netns exec kiln-h mpirun --oversubscribe -n "$ranks" --host 10.77.0.11:$((ranks / 2)),10.77.0.12:$((ranks / 2)) \
    --mca plm_rsh_agent "$work/agent" --mca rtc ^hwloc --mca pml ob1 --mca btl self,tcp --mca btl_tcp_if_include 10.77.0.0/24 \
    --mca oob_tcp_if_include 10.77.0.0/24 -wdir "$PWD" "$kiln" train $recipe "$@" </dev/null
}

# The programs of both machines.
running() {
  for pid in $(ip netns pids kiln-a) $(ip netns pids kiln-b); do
    readlink "/proc/$pid/exe" || true
  done 2>/dev/null
}

hash_of() {
  cat "$1"/checkpoints/step-*/{model,optimizer}.safetensors | sha256sum | cut -d ' ' -f 1
}

sent() {
  ip netns exec "$1" cat /sys/class/net/eth0/statistics/tx_bytes
}

# shellcheck disable=SC2086
"$kiln" train $recipe "output.dir=$work/alone" 2>/dev/null
expected=$(hash_of "$work/alone")
# The optimizer's state is two numbers a parameter; between machines go 4 n bytes a step with two ranks, 8 n with four.
parameters=$(($(stat -c %s "$work"/alone/checkpoints/step-*/optimizer.safetensors) / 8))
echo "1 rank: $expected, $parameters parameters"
for ranks in 2 4; do
  before=$(sent kiln-a)
  over $ranks "output.dir=$work/over-$ranks" 2>"$work/said" || { cat "$work/said"; exit 1; }
  bytes=$(($(sent kiln-a) - before))
  found=$(hash_of "$work/over-$ranks")
  formula=$((60 * 2 * ranks * parameters))
  off=$(awk "BEGIN { printf \"%+.2f\", 100 * ($bytes - $formula) / $formula }")
  echo "$ranks ranks over TCP: $found; $bytes bytes left the first machine, $off % of the formula's $formula"
  grep "ranks (sharding_degree\|bytes to other ranks" "$work/said" || true
  [ "$found" = "$expected" ] || { echo "the bytes differ" >&2; exit 1; }
done

echo "the cable is cut"
over 2 "output.dir=$work/cut" training.max_steps=100000 evaluation.every_steps=100000 checkpoint.every_steps=20 \
  device.exchange_patience=3 >"$work/said" 2>&1 &
run=$!
until ls "$work"/cut/checkpoints/step-* >/dev/null 2>&1; do sleep 0.1; done
ip -n kiln-h link set v-kiln-b down
cut=$(date +%s.%N)
while running | grep -qF "$kiln"; do
  sleep 0.1
done
echo "both ranks have ended $(echo "$(date +%s.%N) - $cut" | bc | cut -c 1-5) s after"
grep -h "nothing has come" "$work/said" || { cat "$work/said"; exit 1; }
kill $run 2>/dev/null || true
