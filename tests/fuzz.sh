#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME each, one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-10s}
grep -rl --include='*_test.go' '^func Fuzz' . | while IFS= read -r file; do
	dir=$(dirname "$file")
	grep -ho '^func Fuzz[A-Za-z0-9_]*' "$file" | while read -r _ name; do
		echo "== $dir $name"
		go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 1x "$dir" </dev/null
	done
done
