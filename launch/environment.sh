# Sourced by launch/quickstart and launch/test: creates or reuses .venv in the project's root with pip; sets $root and $python.
# PYTHON=python3.12 selects the interpreter. TIMBRE_BOUNDS=lowest installs the lowest supported version of every requirement
# instead of the newest, in .venv-lowest.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
environment=$root/.venv${TIMBRE_BOUNDS:+-$TIMBRE_BOUNDS}
python=$environment/bin/python

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "No Python 3.11, 3.12 or 3.13 found (tried: ${PYTHON:-python3 python3.13 python3.12 python3.11})." \
         "Install one or give its path: PYTHON=/path/to/python3.12 $0" >&2
    return 1
}

# make_environment FILE...: creates .venv with some requirement files and the package itself (editable).
make_environment() {
    local stamp=$environment/.installed wanted file interpreter
    wanted=$(cd "$root" && cat pyproject.toml requirements.txt "$@" | cksum)
    if [ -x "$python" ] && [ -f "$stamp" ] && grep -qxF "$wanted $*" "$stamp"; then
        return
    fi
    if [ ! -x "$python" ]; then
        interpreter=$(find_python) || return 1
        echo "Creating ${environment##*/} with $("$interpreter" --version) ..."
        "$interpreter" -m venv "$environment" || {
            rm -rf "$environment"
            echo "'$interpreter -m venv' failed: on Debian and Ubuntu install the package python3-venv." >&2
            return 1
        }
    fi
    echo "Installing $* (one or two minutes at the first call) ..."
    local files=()
    for file in "$@"; do files+=(-r "$root/$file"); done
    if [ "${TIMBRE_BOUNDS:-}" = lowest ]; then
        sed -nE 's/^([A-Za-z0-9_.-]+)>=([0-9a-z.]+).*/\1==\2/p' "$root"/requirements.txt >"$environment/lowest.txt"
        files+=(-c "$environment/lowest.txt")
    fi
    "$python" -m pip install --quiet --disable-pip-version-check "${files[@]}" -e "$root" || {
        echo "pip failed to install the requirements (see above). Give the same command again to continue." >&2
        return 1
    }
    echo "$wanted $*" >>"$stamp"
}
