#!/bin/sh
# Takes the options of Amazon's image as far as they matter, and starts the workbook's own program.
set -eu

port=8000
while [ $# -gt 0 ]; do
    [ "$1" = -port ] && port=$2 && shift
    shift
done
exec dynamodb "0.0.0.0:$port"
