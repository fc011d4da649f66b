# Sourced by the other scripts: makes .venv when it is missing or out of date, and activates it.
#
#   use_environment EXTRA          installs this project with one of its extras (demo, dev)
#   use_serve_environment WHEEL    makes .venv-serve, which has the serve extra of a wheel and nothing else
#
# PYTHON chooses the interpreter that makes .venv (3.11 or newer; default python3).
# CONSTRAINTS chooses the constraints file (default constraints.txt), and with it the torch build.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

use_environment() {
    local extra=$1 python=${PYTHON:-python3} constraints=${CONSTRAINTS:-constraints.txt}
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "error: $python is not Python 3.11 or newer" >&2
        echo "hint: install one and run PYTHON=/path/to/python3.11 $0" >&2
        exit 3
    fi
    local wanted
    local without=tests/requirements-no-deps.txt
    wanted="$extra $(cat pyproject.toml "$constraints" "$without" | cksum)"
    # dev holds everything that demo holds
    if ! grep -qsxF -e "$wanted" -e "${wanted/#demo/dev}" .venv/.pairlock-installed; then
        echo "Installing into .venv (a few minutes the first time) ..." >&2
        [ -x .venv/bin/python ] || "$python" -m venv .venv
        .venv/bin/python -m pip install --quiet --disable-pip-version-check \
            --constraint "$constraints" --editable ".[$extra]"
        # the tests run trainers whose own dependencies contradict this project's
        [ "$extra" != dev ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check \
            --no-deps --requirement "$without"
        echo "$wanted" > .venv/.pairlock-installed
    fi
    export PATH="$PWD/.venv/bin:$PATH"
    export MLFLOW_DISABLE_TELEMETRY=true TOKENIZERS_PARALLELISM=false
}

use_serve_environment() {
    local wheel=$1 python=.venv-serve/bin/python wanted
    wanted="$(cksum < pyproject.toml)"
    if ! grep -qsxF -e "$wanted" .venv-serve/.pairlock-installed; then
        echo "Installing the serve extra into .venv-serve (once) ..." >&2
        rm -rf .venv-serve
        .venv/bin/python -m venv .venv-serve
        "$python" -m pip install --quiet --disable-pip-version-check "$wheel[serve]"
        echo "$wanted" > .venv-serve/.pairlock-installed
    else
        "$python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall "$wheel"
    fi
}
