#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""libuvfio exports what the installed headers declare, all of it and nothing else.

args: nm libuvfio.so header..."""
import re
import subprocess
import sys

nm, library, *headers = sys.argv[1:]
declared = set()
for header in headers:
    text = open(header, encoding="utf-8").read()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"^\s*#.*(\\\n.*)*", "", text, flags=re.M)
    for declaration in re.findall(r"\bUVFIO_API\b([^;{]*);", text):
        name = re.search(r"(\w+)\s*\(", declaration)
        declared.add(name.group(1) if name else declaration)
said = subprocess.run([nm, "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
exported = {line.split()[-1].split("@")[0] for line in said.splitlines()}
# What a sanitizer or a profiler puts there.
exported = {name for name in exported if not re.match(r"_|asan|tsan|llvm|gcov|mangle_path$", name)}
for name in sorted(declared - exported):
    print(f"declared, but not exported: {name}")
for name in sorted(exported - declared):
    print(f"exported, but in no installed header: {name}")
if len(declared) < 60:
    sys.exit(f"only {len(declared)} declarations were found in {headers}")
sys.exit(declared != exported)
