# SPDX-License-Identifier: BSD-3-Clause
# lib.sh under its old name, for tests in which a failed stage of a pipeline counts.  shellcheck shell=bash
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
set -o pipefail
