#!/bin/sh
# What a CI job does for Microkit systems: judge each, hold its rights against the lock file, prove the sandbox on this
# machine. Every step is done for every system, so that one run tells everything; any failure fails the script.
#
#   check.sh SYSTEM...
#
# MK_SANDBOX  the program (mk-sandbox)
# REPORTS     the directory that SARIF and JUnit reports are written to (reports)
# VERIFY      no: leave out the proof, on machines that may not start sandboxes (yes)
# TIER        how much of the sandbox this machine must enforce for the proof: full or compat (full)
set -eu

program=${MK_SANDBOX:-mk-sandbox}
reports=${REPORTS:-reports}
failed=0

if [ $# -eq 0 ]; then
    echo "usage: $0 SYSTEM..." >&2
    exit 2
fi
mkdir -p "$reports"

step() {
    printf '== %s\n' "$*"
    if "$@"; then :; else
        printf '== failed with exit code %s: %s\n' "$?" "$*"
        failed=1
    fi
}

for system in "$@"; do
    name=$(basename "$system" .system)
    directory=$(dirname "$system")

    # Your own build goes here. The images have to be there before anything can be said about them.
    for source in "$directory"/*.c; do
        step "$program" cc -O2 -o "${source%.c}.elf" "$source"
    done

    # For code scanning and for the list of tests. What they find is what the next step fails for.
    for format in sarif junit; do
        "$program" check --locked --deny warnings --format "$format" --output "$reports/$name.$format" "$system" || true
    done

    # Valid, nothing unwise in it, and no right that the lock file does not list.
    step "$program" check --locked --deny warnings "$system"

    # On GitHub, mark the lines of a pull request too.
    if [ "${GITHUB_ACTIONS:-}" = true ]; then
        "$program" check --locked --deny warnings --format github "$system" || true
    fi

    # What the kernel grants each protection domain here is what the file says: a test case for every protection domain and check.
    if [ "${VERIFY:-yes}" = yes ]; then
        step "$program" verify --tier "${TIER:-full}" --format junit --output "$reports/$name.verify.junit" "$system"
    fi
done

exit "$failed"
