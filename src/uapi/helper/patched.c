/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The instruction under a breakpoint.
 *
 * A debugger that steps over a breakpoint on a trapped instruction puts the breakpoint back before
 * our handler runs, so that int3 is what we find there.  The file that the page was mapped from
 * still has the instruction; it is taken when it differs from memory in nothing but the first byte.
 * Code that comes from no file, or was relocated, is not found again: then the message names int3.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "uapi/helper/helper.h"

#define INT3 0xcc

struct line {
	uint64_t start, end, offset;
	char path[256];
};

/* "START-END PERMS OFFSET MAJOR:MINOR INODE     PATH" */
static bool parse(const char *text, struct line *line)
{
	uint64_t *const numbers[] = {&line->start, &line->end, NULL, &line->offset, NULL, NULL};
	const char *p = text;
	size_t len;

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		uint64_t n = 0;

		for (; *p && *p != ' ' && !(i == 0 && *p == '-'); p++) {
			unsigned digit =
				*p <= '9' ? (unsigned)(*p - '0') : (unsigned)(*p - 'a' + 10);

			n = n << 4 | (digit & 15);
		}
		if (!*p)
			return false;
		p++;
		if (numbers[i])
			*numbers[i] = n;
	}
	while (*p == ' ')
		p++;
	len = strlen(p);
	if (*p != '/' || len >= sizeof(line->path))
		return false;
	memcpy(line->path, p, len + 1);
	return true;
}

/* Reads /proc/self/maps up to the line of @addr. */
static bool find_mapping(uint64_t addr, struct line *line)
{
	long fd = sys4(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
	char text[320], c[64];
	size_t used = 0;
	bool found = false;
	long n;

	if (sys_failed(fd))
		return false;
	while (!found && (n = sys3(SYS_read, fd, (long)c, sizeof(c))) > 0) {
		for (long i = 0; i < n && !found; i++) {
			if (c[i] != '\n') {
				if (used < sizeof(text) - 1)
					text[used++] = c[i];
				continue;
			}
			text[used] = '\0';
			used = 0;
			found = parse(text, line) && line->start <= addr && addr < line->end;
		}
	}
	sys1(SYS_close, fd);
	return found;
}

bool patched_original(uint64_t rip, uint8_t *bytes, size_t n)
{
	uint8_t file[EMU_MAX_INSN];
	struct line line;
	long fd, got;

	if (!n || bytes[0] != INT3 || !find_mapping(rip, &line))
		return false;
	fd = sys4(SYS_openat, AT_FDCWD, (long)line.path, O_RDONLY | O_CLOEXEC, 0);
	if (sys_failed(fd))
		return false;
	got = sys4(SYS_pread64, fd, (long)file, (long)n, (long)(line.offset + (rip - line.start)));
	sys1(SYS_close, fd);
	if (got != (long)n)
		return false;
	/* A breakpoint on the next instruction, too: up to there is enough. */
	for (size_t i = 1; i < n; i++)
		if (file[i] != bytes[i] && bytes[i] != INT3)
			return false;
	memcpy(bytes, file, n);
	return true;
}
