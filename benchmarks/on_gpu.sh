#!/usr/bin/env bash
# What only a machine with a GPU can tell: device tests, the table of networks, superpixels and stains beside the CPU.
#
#     bash benchmarks/on_gpu.sh carry   # where there is a network: the wheels that such a machine lacks, into .whl (12 MB)
#     bash benchmarks/on_gpu.sh         # there, with .whl carried along; downloads nothing; about 5 minutes
#
# The machine needs Linux on x86-64 and a python3 with torch, torchvision, timm, safetensors, scikit-image, scikit-learn, scipy,
# pyyaml and pytest; Stroma itself is taken from this checkout. `carry` looks for Python 3.12 (PYTHON_VERSION=3.13: another).
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ "${1:-}" == carry ]]; then
    platforms=()
    for number in 28 27 24 17; do platforms+=(--platform "manylinux_2_${number}_x86_64"); done
    rm -rf .whl
    python=.venv/bin/python
    [[ -x $python ]] || python=python3
    core=$("$python" -m pip show pydantic_core | sed -n 's/^Version: //p')
    pydantic=$("$python" -m pip show pydantic | sed -n 's/^Version: //p')
    "$python" -m pip download --quiet --no-deps --only-binary=:all: --dest .whl "${platforms[@]}" \
        --platform manylinux2014_x86_64 --python-version "${PYTHON_VERSION:-3.12}" --implementation cp \
        "pydantic==$pydantic" "pydantic-core==$core" annotated-types typing-inspection kornia kornia-rs segmentation-models-pytorch
    ls -l .whl
    exit
fi

site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if compgen -G ".whl/*.whl" > /dev/null; then
    python3 -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" .whl/*.whl
fi
export PYTHONPATH="$site:src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
python3 -c "import sys, torch; print(sys.version.split()[0], torch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())"
# a failed test stops no measurement, and is told at the end
tests=0
python3 -m pytest -q -p no:cacheprovider tests/core/test_device.py tests/test_devices.py || tests=$?
python3 -m benchmarks models device
exit $tests
