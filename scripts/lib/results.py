# SPDX-License-Identifier: BSD-3-Clause
"""Turn meson's testlog.json into lines `OK|FAIL|SKIP NAME[: REASON]`, one a test (TAP: one a subtest).

usage: results.py BUILD-NAME TESTLOG EXIT-STATUS
"""
import json
import re
import sys

build, path, status = sys.argv[1:]
seen_failure = False
try:
    with open(path, encoding="utf-8") as log:
        tests = [json.loads(line) for line in log]
except (OSError, ValueError) as error:
    print(f"FAIL {build}: no test log: {error}")
    sys.exit()
for test in tests:
    name = f"{build}: {test['name']}"
    result = test["result"]
    # One line a TAP subtest, so that a table of rules counts as what it is; the same for cmocka's.
    said = ""
    for line in (test.get("stdout") or "").splitlines():
        cmocka = re.match(r"\[ *(OK|SKIPPED|RUN) *\] (\w+)$", line)
        if cmocka and cmocka[1] != "RUN":
            skipped = cmocka[1] == "SKIPPED"
            print(f"SKIP {name}: {cmocka[2]}: {said or 'no reason given'}" if skipped
                  else f"OK {name}: {cmocka[2]}")
        said = "" if cmocka else line.strip() or said
        point = re.match(r"(not )?ok\b\s*\d*\s*-?\s*([^#]*)(#\s*skip\b\s*(.*))?", line, re.I)
        if not point:
            continue
        kind = "SKIP" if point[3] else "FAIL" if point[1] else "OK"
        if kind == "FAIL" and result == "OK":
            continue  # an expected failure of TAP's kind
        seen_failure |= kind == "FAIL"
        reason = f": {point[4].strip()}" if point[4] else ""
        print(f"{kind} {name}: {point[2].strip()}{reason}")
    if result == "SKIP":
        words = ((test.get("stdout") or "") + (test.get("stderr") or "")).strip().splitlines()
        print(f"SKIP {name}: {words[-1] if words else 'no reason given'}")
    elif result == "OK" or result == "EXPECTEDFAIL":
        print(f"OK {name}")
    else:
        seen_failure = True
        print(f"FAIL {name}: {result}")
if status != "0" and not seen_failure:
    print(f"FAIL {build}: the test runner ended with {status}")
