#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The answers of the rule tests, and those of real kernels that are kept in tests/rules/reference.

VERSION.txt has nvme's lines as they were printed.  others-VERSION.txt has those of all other machines of
scripts/lib/kernel-devices, in the order of the cases: a line for each answer, and before it in brackets
the machines that gave it, or a star for all of them.  "# machines:" at the top names them all.
compat-VERSION.txt has those of the machine compat, where an iommufd is the container: it follows other
rules, so that what a case expects is no matter there.

As a program: rule_answers.py --save VERSION MACHINE FILE NAMES puts FILE's lines into the reference, in
the order of NAMES (rules --list); what is not in FILE, and still a case, stays.
"""
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
FOLDER = os.path.join(TOP, "tests", "rules", "reference")
LINE = re.compile(r"([A-F]\.\S+): (.*) \[(PASS|FAIL|SKIP|N/A)\b(.*)\]$")
FIRST = "nvme"
COMPAT = "compat"


def answers(lines):
    """By the case's name: what it answered ("-": it was not asked), why not or what was wrong, and
    whether something was."""
    found = {}
    for line in lines:
        match = LINE.match(line.rstrip("\n"))
        if match:
            name, result, verdict, remark = match.groups()
            if name in found:
                sys.exit(f"{name} is answered twice")
            found[name] = (result if verdict not in ("SKIP", "N/A") else "-", remark.strip(" :"), verdict == "FAIL")
    return found


def own_path(version, machine):
    return os.path.join(FOLDER, f"{version}.txt" if machine == FIRST else f"{machine}-{version}.txt")


def others_path(version):
    return os.path.join(FOLDER, f"others-{version}.txt")


def load_others(version):
    """Lines, by machine."""
    found, machines = {}, []
    try:
        file = open(others_path(version), encoding="utf-8")
    except FileNotFoundError:
        return found
    with file:
        for line in file:
            if line.startswith("# machines:"):
                machines = line.split(":")[1].split()
                found = {machine: [] for machine in machines}
            match = re.match(r"\[([^\]]+)\] (.*)", line)
            if match:
                for machine in machines if match[1] == "*" else match[1].split():
                    found[machine].append(match[2])
    return found


def save_others(version, found, order):
    machines = sorted(found)
    given = {name: {} for name in order}
    for machine in machines:
        for line in found[machine]:
            given[line.split(": ")[0]].setdefault(line, []).append(machine)
    with open(others_path(version), "w", encoding="utf-8") as file:
        file.write("# What the machines of scripts/lib/kernel-devices answered, but for nvme (scripts/kernel-rules --save).\n"
                   f"# machines: {' '.join(machines)}\n")
        for name in order:
            for line, by in given[name].items():
                file.write(f"[{'*' if by == machines else ' '.join(by)}] {line}\n")


def load_own(version, machine):
    try:
        with open(own_path(version, machine), encoding="utf-8") as file:
            return [line.rstrip("\n") for line in file if LINE.match(line.rstrip("\n"))]
    except FileNotFoundError:
        return []


def save_own(version, machine, lines):
    verdicts = [LINE.match(line)[3] for line in lines]
    with open(own_path(version, machine), "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)
        if machine == FIRST:
            file.write(f"{verdicts.count('PASS')} passed, {verdicts.count('FAIL')} failed, {verdicts.count('SKIP')} skipped\n")


def merge(old, new, order):
    """Lines of @new, and those of @old that are of other cases, as far as there are such cases."""
    by_name = {line.split(": ")[0]: line for line in old + new}
    return [by_name[name] for name in order if name in by_name]


def reference(version, machine=FIRST):
    """answers() of a machine; exits when it is not kept."""
    if machine in (FIRST, COMPAT):
        return answers(load_own(version, machine))
    others = load_others(version)
    if machine not in others:
        sys.exit(f"there is no reference for {machine} and {version}: the machines are {FIRST} {' '.join(sorted(others))}")
    return answers(others[machine])


def references(version):
    """answers() of every machine that the rules hold for, by its name."""
    return {FIRST: reference(version), **{m: answers(lines) for m, lines in load_others(version).items()}}


def main():
    if len(sys.argv) != 6 or sys.argv[1] != "--save":
        sys.exit("usage: rule_answers.py --save VERSION MACHINE FILE NAMES")
    version, machine, path, names = sys.argv[2:]
    with open(names, encoding="utf-8") as file:
        order = file.read().split()
    with open(path, encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file if LINE.match(line.rstrip("\n"))]
    if machine in (FIRST, COMPAT):
        if machine == COMPAT:  # whether it is as the rule says is no matter
            lines = [re.sub(r" \[(PASS|FAIL: .*)\]$", " [PASS]", line) for line in lines]
        save_own(version, machine, merge(load_own(version, machine), lines, order))
    else:
        others = load_others(version)
        others[machine] = merge(others.get(machine, []), lines, order)
        save_others(version, {m: merge(l, [], order) for m, l in others.items()}, order)


if __name__ == "__main__":
    main()
