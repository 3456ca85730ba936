/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Theory of operation.  Linux 6.11 and later answer a binary query for one VMA (PROCMAP_QUERY on
 * /proc/TID/maps), whatever the number of mappings.  Older kernels have only the text, which is
 * read from the start.  Which of the two is found out at each call: the failing ioctl costs nothing
 * beside reading the text.
 *
 * What neither says is whether there are pages behind a mapping that can be pinned: for that there
 * is smaps, which looks at all pages on the way there.
 */
#include "uapi/vma.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* linux/fs.h of 6.11; Debian 12's is older. */
struct procmap_query_arg {
	uint64_t size, query_flags, query_addr;
	uint64_t vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
	uint32_t dev_major, dev_minor, vma_name_size, build_id_size;
	uint64_t vma_name_addr, build_id_addr;
};
#define PROCMAP_QUERY_IOCTL   _IOWR('f', 17, struct procmap_query_arg)
#define PROCMAP_READABLE      0x01u
#define PROCMAP_WRITABLE      0x02u
#define PROCMAP_EXECUTABLE    0x04u
#define PROCMAP_SHARED        0x08u
#define PROCMAP_COVER_OR_NEXT 0x10u

/* Of a mapping without a file that cannot be written. */
static bool is_kernels(const char *name)
{
	return !strncmp(name, "[vvar", 5);
}

static bool query_is_kernels(int maps, uint64_t addr)
{
	char name[32] = "";
	struct procmap_query_arg q = {
		.size = sizeof(q),
		.query_addr = addr,
		.vma_name_size = sizeof(name),
		.vma_name_addr = (uintptr_t)name,
	};

	return !ioctl(maps, PROCMAP_QUERY_IOCTL, &q) && is_kernels(name);
}

static int query(int maps, uint64_t addr, struct vma *vma)
{
	struct procmap_query_arg q = {
		.size = sizeof(q),
		.query_flags = PROCMAP_COVER_OR_NEXT,
		.query_addr = addr,
	};

	if (ioctl(maps, PROCMAP_QUERY_IOCTL, &q))
		return -errno;
	*vma = (struct vma){
		.start = q.vma_start,
		.end = q.vma_end,
		.offset = q.vma_offset,
		.prot = (q.vma_flags & PROCMAP_READABLE ? PROT_READ : 0) |
			(q.vma_flags & PROCMAP_WRITABLE ? PROT_WRITE : 0) |
			(q.vma_flags & PROCMAP_EXECUTABLE ? PROT_EXEC : 0),
		.shared = q.vma_flags & PROCMAP_SHARED,
		.file = q.inode != 0,
		.dev = makedev(q.dev_major, q.dev_minor),
		.ino = q.inode,
		.page_size = (uint32_t)q.vma_page_size,
	};
	vma->kernels =
		!vma->file && !(vma->prot & PROT_WRITE) && query_is_kernels(maps, q.vma_start);
	return 0;
}

static int walk_queries(int maps, uint64_t start, uint64_t end,
			int (*fn)(void *, const struct vma *), void *arg)
{
	struct vma vma;
	int ret;

	for (uint64_t addr = start; addr < end; addr = vma.end) {
		ret = query(maps, addr, &vma);
		if (ret == -ENOENT || (!ret && vma.start > addr))
			return -EFAULT;
		if (ret)
			return ret;
		ret = fn(arg, &vma);
		if (ret)
			return ret;
	}
	return 0;
}

static bool parse_line(const char *line, struct vma *vma)
{
	unsigned major, minor;
	char flags[5];
	int name = 0;

	*vma = (struct vma){0};
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %lu %n", &vma->start,
		   &vma->end, flags, &vma->offset, &major, &minor, &vma->ino, &name) != 7)
		return false;
	vma->prot = (flags[0] == 'r' ? PROT_READ : 0) | (flags[1] == 'w' ? PROT_WRITE : 0) |
		    (flags[2] == 'x' ? PROT_EXEC : 0);
	vma->shared = flags[3] == 's';
	vma->file = vma->ino != 0;
	vma->dev = makedev(major, minor);
	vma->kernels = !vma->file && is_kernels(line + name);
	return true;
}

/* A line of @file without its end, as much as @size holds. */
static bool get_line(FILE *file, char *line, int size)
{
	char *end;
	int c;

	if (!fgets(line, size, file))
		return false;
	end = strchr(line, '\n');
	if (end)
		*end = '\0';
	while (!end && (c = fgetc(file)) != EOF && c != '\n')
		; /* a long file name */
	return true;
}

static int walk_text(int proc, uint64_t start, uint64_t end, int (*fn)(void *, const struct vma *),
		     void *arg)
{
	uint64_t addr = start;
	char line[512];
	FILE *file;
	/* Whoever reads text has a place in it. */
	int ret = -EFAULT, fd = openat(proc, "maps", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	file = fdopen(fd, "r");
	if (!file) {
		close(fd);
		return -ENOMEM;
	}
	while (get_line(file, line, sizeof(line))) {
		struct vma vma;

		if (!parse_line(line, &vma) || vma.end <= addr)
			continue;
		if (vma.start > addr)
			break; /* a hole */
		ret = fn(arg, &vma);
		if (ret || vma.end >= end)
			break;
		addr = vma.end;
		ret = -EFAULT; /* unless another one follows */
	}
	fclose(file);
	return ret;
}

int vma_walk(int proc, int maps, uint64_t start, uint64_t end,
	     int (*fn)(void *, const struct vma *), void *arg)
{
	int own = maps < 0 ? openat(proc, "maps", O_RDONLY | O_CLOEXEC) : -1, ret;

	if (maps < 0 && own < 0)
		return -errno;
	ret = walk_queries(maps < 0 ? own : maps, start, end, fn, arg);
	if (ret == -ENOTTY)
		ret = walk_text(proc, start, end, fn, arg);
	if (own >= 0)
		close(own);
	return ret;
}

int vma_unpinnable(int proc, const struct vma *vma, bool *unpinnable)
{
	int fd = openat(proc, "smaps", O_RDONLY | O_CLOEXEC), ret = -EFAULT;
	bool there = false;
	char line[512];
	FILE *file;

	if (fd < 0)
		return -errno;
	file = fdopen(fd, "r");
	if (!file) {
		close(fd);
		return -ENOMEM;
	}
	while (ret && get_line(file, line, sizeof(line))) {
		struct vma other;

		if (!there) {
			there = parse_line(line, &other) && other.start <= vma->start &&
				vma->start < other.end;
			*unpinnable = there && strstr(line, "/secretmem");
		} else if (!strncmp(line, "VmFlags:", 8)) {
			*unpinnable |= strstr(line, " io") || strstr(line, " pf");
			ret = 0;
		}
	}
	fclose(file);
	return ret;
}

bool vma_written_back(int proc, const struct vma *vma)
{
	static const char *const memory[] = {"tmpfs", "ramfs", "hugetlbfs", "devtmpfs"};
	int fd = openat(proc, "mountinfo", O_RDONLY | O_CLOEXEC);
	FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
	bool found = false, back = false;
	char line[2048], type[32];

	if (!file) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	/* ID PARENT MAJOR:MINOR … - TYPE SOURCE …; what is mounted by the kernel itself is not
	 * there. */
	while (!found && get_line(file, line, sizeof(line))) {
		const char *rest = strstr(line, " - ");
		unsigned major, minor;

		found = sscanf(line, "%*u %*u %u:%u", &major, &minor) == 2 &&
			makedev(major, minor) == vma->dev && rest &&
			sscanf(rest, " - %31s", type) == 1;
	}
	fclose(file);
	back = found;
	for (unsigned i = 0; i < sizeof(memory) / sizeof(memory[0]) && back; i++)
		back = strcmp(type, memory[i]) != 0;
	return back;
}
