#!/usr/bin/env bash
# Tests, then benchmarks, on a machine with a CUDA device that has Python, torch and pytest; other packages come from .whl/.
#
#   experiments/benchmarks/device.sh            everything; records and logs go to runs/device, or to $OUT
#   experiments/benchmarks/device.sh --quick    tiny networks, to see that it runs; on a CPU with DEVICE=cpu
#
# TEST_SECONDS and BUDGET bound the tests and the benchmarks. What is not there by then is left out, and what is there is kept.
# To fill .whl/ where there is a network, for the Python of the device machine:
#   pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
#     --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d .whl \
#     backpack-for-pytorch unfoldNd einops curvlinops-for-pytorch==3.0.1 einconv linear_operator opt_einsum pytorch_optimizer \
#     hypothesis sortedcontainers pytest-xdist execnet scipy
# and only what the machine lacks: two versions of one package, or a package without what it needs, break others.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
ROOT=$PWD OUT=${OUT:-runs/device} DEVICE=${DEVICE:-cuda} PYTHON=${PYTHON:-python3}
WORKERS=${WORKERS:-$(($(nproc) < 12 ? $(nproc) : 12))} TEST_SECONDS=${TEST_SECONDS:-150} BUDGET=${BUDGET:-300}
# What comes first is run first; with xdist the rest goes on until the seconds are used up.
TESTS=${TESTS:-tests/optim tests/observation tests/norms tests/core tests/laws tests/metrics tests/solvers tests/objectives
  tests/predictive tests/sampling tests/problem tests/measure tests/engines tests/stories}
mkdir -p "$OUT"
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 HYPOTHESIS_PROFILE=${HYPOTHESIS_PROFILE:-brief} COLUMNS=120

site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if compgen -G ".whl/*.whl" >/dev/null; then
  install() { "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" "$@"; }
  install .whl/*.whl 2>/dev/null || for wheel in .whl/*.whl; do install "$wheel" 2>/dev/null || echo "does not fit here: $wheel"; done
fi
export PYTHONPATH=$ROOT:$site
"$PYTHON" - <<'END'
import importlib.util as find, torch
print("torch", torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else "without a CUDA device")
wanted = "pytest xdist hypothesis numpy scipy backpack unfoldNd einops curvlinops einconv pytorch_optimizer"
print("missing:", [name for name in wanted.split() if find.find_spec(name) is None])
END

echo "== correct, beside the tests"
"$PYTHON" -m experiments.benchmarks.brief correct "$OUT" "$TEST_SECONDS" "$@" >"$OUT/correct.log" 2>&1 &
correct=$!
echo "== tests"
# shellcheck disable=SC2086
timeout -s INT -k 20 "$TEST_SECONDS" "$PYTHON" -m pytest -q -n "$WORKERS" --device "$DEVICE" --tb=short -rfE -W default \
  -p no:cacheprovider --junitxml="$OUT/tests.xml" $TESTS >"$OUT/tests.log" 2>&1
echo "pytest ended with $?"
grep -E "^(FAILED|ERROR)" "$OUT/tests.log" | cut -c1-150 | head -40
tail -n 1 "$OUT/tests.log"
wait "$correct"
cat "$OUT/correct.log"
echo "== accelerator"
"$PYTHON" -m experiments.benchmarks.brief accelerator "$OUT" "$BUDGET" "$@" 2>&1 | tee "$OUT/accelerator.log"
