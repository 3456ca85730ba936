// SPDX-License-Identifier: BSD-3-Clause
/* A.6: mapping a region, and what becomes of the mapping. */
#include <signal.h>
#include <sys/wait.h>
#include "facts.h"

#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 3
#endif

static long try_map(struct t *t, unsigned index, uint64_t off, size_t len, int prot, int flags)
{
	void *p = mmap(NULL, len, prot, flags, t->dev, (off_t)(t->f->region_offset[index] + off));

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, len);
	return 0;
}

static void *mapped(struct t *t, uint64_t off, size_t len, int prot)
{
	void *p = mmap(NULL, len, prot, MAP_SHARED, t->dev,
		       (off_t)(t->f->region_offset[t->f->bar_index] + off));

	must(t, "mmap", p == MAP_FAILED ? -errno : 0);
	return p;
}

static void see_touch(struct t *t, const char *label, const volatile uint32_t *p, bool reads)
{
	int sig = touch(p, NULL);

	see_text(t, label,
		 !sig            ? "reads"
		 : sig == SIGBUS ? "SIGBUS"
				 : "SIGSEGV",
		 reads ? "reads" : "SIGBUS");
}

static void protections(struct t *t)
{
	unsigned bar = (unsigned)t->f->bar_index;

	see(t, "rw", try_map(t, bar, 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), 0);
	see(t, "r", try_map(t, bar, 0, PAGE, PROT_READ, MAP_SHARED), 0);
	see(t, "w", try_map(t, bar, 0, PAGE, PROT_WRITE, MAP_SHARED), 0);
	see(t, "none", try_map(t, bar, 0, PAGE, PROT_NONE, MAP_SHARED), 0);
	see(t, "validate", try_map(t, bar, 0, PAGE, PROT_READ, MAP_SHARED_VALIDATE), 0);
}

static void private_mapping(struct t *t)
{
	unsigned bar = (unsigned)t->f->bar_index;

	see(t, "rw", try_map(t, bar, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE), -EINVAL);
	see(t, "r", try_map(t, bar, 0, PAGE, PROT_READ, MAP_PRIVATE), -EINVAL);
}

static void lengths(struct t *t)
{
	unsigned bar = (unsigned)t->f->bar_index;
	uint64_t size = (t->f->bar[bar].size + PAGE - 1) & ~(PAGE - 1);

	see(t, "whole", try_map(t, bar, 0, size, PROT_READ, MAP_SHARED), 0);
	see(t, "less-than-a-page", try_map(t, bar, 0, 1, PROT_READ, MAP_SHARED), 0);
	see(t, "last-page", try_map(t, bar, size - PAGE, PAGE, PROT_READ, MAP_SHARED), 0);
	see(t, "beyond", try_map(t, bar, 0, size + PAGE, PROT_READ, MAP_SHARED), -EINVAL);
	see(t, "beyond-by-a-byte", try_map(t, bar, 0, size + 1, PROT_READ, MAP_SHARED), -EINVAL);
	see(t, "last-page-and-more", try_map(t, bar, size - PAGE, 2 * PAGE, PROT_READ, MAP_SHARED),
	    -EINVAL);
	see(t, "behind", try_map(t, bar, size, PAGE, PROT_READ, MAP_SHARED), -EINVAL);
	see(t, "far-behind", try_map(t, bar, 1ull << 39, PAGE, PROT_READ, MAP_SHARED), -EINVAL);
	see(t, "nothing", try_map(t, bar, 0, 0, PROT_READ, MAP_SHARED), -EINVAL);
}

static void wrong_region(struct t *t)
{
	unsigned index = *(const unsigned *)t->rule->arg;
	void *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, t->dev, (off_t)index << 40);

	see(t, "rc", p == MAP_FAILED ? -errno : 0, -EINVAL);
}
static const unsigned wrong_indices[] = {6, 7, 8, 9, 100, 0x7fffff};

static void absent_bar(struct t *t)
{
	for (unsigned i = 0; i < 6; i++) {
		if (!t->f->bar[i].size) {
			see(t, "rc", try_map(t, i, 0, PAGE, PROT_READ, MAP_SHARED), -EINVAL);
			return;
		}
	}
	skip(t, "the device has all six BARs");
}

static void io_bar(struct t *t)
{
	for (unsigned i = 0; i < 6; i++) {
		if (t->f->bar[i].size && t->f->bar[i].io) {
			see(t, "rc", try_map(t, i, 0, PAGE, PROT_READ, MAP_SHARED), -EINVAL);
			return;
		}
	}
}

static void same_as_pread(struct t *t)
{
	uint32_t *p = map_bar(t, PROT_READ), value = 0, piece = 0;

	see_touch(t, "touch", p, true);
	touch(p, &value);
	see(t, "pread", bar_pread32(t, &piece), 4);
	see_true(t, "same", value == piece);
}

static void memory_off(struct t *t)
{
	uint32_t *p = map_bar(t, PROT_READ | PROT_WRITE), before = 0, after = 0;

	see_touch(t, "on", p, true);
	touch(p, &before);
	set_memory(t, false);
	see_touch(t, "off", p, false);
	see_touch(t, "off-again", p, false);
	see_text(t, "off-write", touch_write(p, before) == SIGBUS ? "SIGBUS" : "other", "SIGBUS");
	set_memory(t, true);
	see_touch(t, "on-again", p, true);
	touch(p, &after);
	see_true(t, "same", before == after);
}

/* The mapping may be made while memory is off: only touching it counts. */
static void map_while_off(struct t *t)
{
	uint32_t *p;

	set_memory(t, false);
	p = map_bar(t, PROT_READ);
	see_touch(t, "off", p, false);
	set_memory(t, true);
	see_touch(t, "on", p, true);
}

static void all_mappings_zapped(struct t *t)
{
	uint32_t *a = map_bar(t, PROT_READ), *b = map_bar(t, PROT_READ | PROT_WRITE);

	see_touch(t, "a", a, true);
	see_touch(t, "b", b, true);
	set_memory(t, false);
	see_touch(t, "a-off", a, false);
	see_touch(t, "b-off", b, false);
	set_memory(t, true);
	see_touch(t, "a-on", a, true);
	see_touch(t, "b-on", b, true);
}

/* Memory is off whether COMMAND is written whole or by its low byte. */
static void off_by_byte(struct t *t)
{
	uint32_t *p = map_bar(t, PROT_READ), command = cfg_read(t, 4, 1);

	see_touch(t, "on", p, true);
	cfg_write(t, 4, 1, command & ~2u);
	see_touch(t, "off", p, false);
	cfg_write(t, 4, 1, command | 2);
	see_touch(t, "on-again", p, true);
}

static void power_d3(struct t *t)
{
	uint32_t *p = map_bar(t, PROT_READ);

	see_touch(t, "d0", p, true);
	set_power(t, 3);
	see_touch(t, "d3", p, false);
	set_power(t, 0);
	set_memory(t, true);
	see_touch(t, "d0-again", p, true);
}

static void other_process(struct t *t)
{
	uint32_t *p = map_bar(t, PROT_READ);
	int go[2], back[2], status = -1;
	char byte = 0;
	pid_t pid;

	must(t, "pipe", sys(pipe(go)) | sys(pipe(back)));
	pid = fork();
	must(t, "fork", sys(pid));
	if (!pid) {
		/* Inherited, as any shared mapping. */
		int before = touch(p, NULL), off;

		if (write(back[1], "x", 1) != 1 || read(go[0], &byte, 1) != 1)
			_exit(9);
		off = touch(p, NULL);
		_exit(before ? 1 : off != SIGBUS ? 2 : 0);
	}
	must(t, "child", sys(read(back[0], &byte, 1)));
	set_memory(t, false);
	must(t, "go", sys(write(go[1], "x", 1)));
	waitpid(pid, &status, 0);
	see(t, "child", WIFEXITED(status) ? WEXITSTATUS(status) : 99, 0);
}

static void survives_reset(struct t *t)
{
	uint32_t *p = map_bar(t, PROT_READ), before = 0, after = 0;

	touch(p, &before);
	see(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)), 0);
	see_touch(t, "after", p, true);
	touch(p, &after);
	must(t, "pread", bar_pread32(t, &before));
	see_true(t, "same-as-pread", before == after);
}

static void partly_unmapped(struct t *t)
{
	unsigned bar = (unsigned)t->f->bar_index;
	char *p;

	if (t->f->bar[bar].size < 2 * PAGE)
		skip(t, "the BAR has only one page");
	p = mapped(t, 0, 2 * PAGE, PROT_READ);
	see(t, "munmap", sys(munmap(p, PAGE)), 0);
	see_touch(t, "rest", (uint32_t *)(p + PAGE), true);
	set_memory(t, false);
	see_touch(t, "rest-off", (uint32_t *)(p + PAGE), false);
}

static void protection_changed(struct t *t)
{
	uint32_t *p = map_bar(t, PROT_READ);
	void *page = (void *)((uintptr_t)p & ~(PAGE - 1));

	see_touch(t, "read", p, true);
	see(t, "none", sys(mprotect(page, PAGE, PROT_NONE)), 0);
	see_text(t, "touch", touch(p, NULL) == SIGSEGV ? "SIGSEGV" : "other", "SIGSEGV");
	see(t, "back", sys(mprotect(page, PAGE, PROT_READ)), 0);
	see_touch(t, "read", p, true);
}

static void read_only_write(struct t *t)
{
	uint32_t *p = map_bar(t, PROT_READ), value = 0;

	touch(p, &value);
	see_text(t, "write", touch_write(p, value) == SIGSEGV ? "SIGSEGV" : "other", "SIGSEGV");
}

static void cannot_grow(struct t *t)
{
	char *p = mapped(t, 0, PAGE, PROT_READ);
	void *q = mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE);

	see(t, "grow", q == MAP_FAILED ? -errno : 0, -EFAULT);
}

static void moved(struct t *t)
{
	uint32_t *p = map_bar(t, PROT_READ);
	char *page = (char *)((uintptr_t)p & ~(PAGE - 1)), *target = new_pages(t, 1), *q;

	q = mremap(page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target);
	see(t, "move", q == MAP_FAILED ? -errno : 0, 0);
	if (q == MAP_FAILED)
		return;
	p = (uint32_t *)(q + ((uintptr_t)p & (PAGE - 1)));
	see_touch(t, "read", p, true);
	set_memory(t, false);
	see_touch(t, "off", p, false);
}

static void table_mappable(struct t *t)
{
	const struct facts *f = t->f;
	uint64_t off = f->table_offset & ~(PAGE - 1);

	see(t, "mmap", try_map(t, f->table_bar, off, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), 0);
}

/* A descriptor's mapping does not end with the descriptor. */
static void outlives_descriptor(struct t *t)
{
	uint32_t *p = map_bar(t, PROT_READ);

	close(t->dev);
	t->dev = -1;
	see_touch(t, "read", p, true);
}

#define WRONG(i) OPEN_DEVICE, 0, wrong_region, &wrong_indices[i]

static const struct rule rules[] = {
	{"A.6/mmap/protections", OPEN_DEVICE, NEED_MMAP, protections},
	{"A.6/mmap/private", OPEN_DEVICE, NEED_MMAP, private_mapping},
	{"A.6/mmap/lengths", OPEN_DEVICE, NEED_MMAP, lengths},
	{"A.6/mmap/rom", WRONG(0)},
	{"A.6/mmap/config", WRONG(1)},
	{"A.6/mmap/vga", WRONG(2)},
	{"A.6/mmap/index-9", WRONG(3)},
	{"A.6/mmap/index-100", WRONG(4)},
	{"A.6/mmap/index-highest", WRONG(5)},
	{"A.6/mmap/bar-absent", OPEN_DEVICE, 0, absent_bar},
	{"A.6/mmap/io-bar", OPEN_DEVICE, NEED_IOBAR, io_bar},
	{"A.6/mmap/same-as-pread", OPEN_DEVICE, NEED_MMAP, same_as_pread},
	{"A.6/mmap/memory-off", OPEN_DEVICE, NEED_MMAP, memory_off},
	{"A.6/mmap/memory-off-by-byte", OPEN_DEVICE, NEED_MMAP, off_by_byte},
	{"A.6/mmap/while-memory-off", OPEN_DEVICE, NEED_MMAP, map_while_off},
	{"A.6/mmap/all-mappings", OPEN_DEVICE, NEED_MMAP, all_mappings_zapped},
	{"A.6/mmap/power-d3", OPEN_DEVICE, NEED_MMAP | NEED_PM, power_d3},
	{"A.6/mmap/other-process", OPEN_DEVICE, NEED_MMAP, other_process},
	{"A.6/mmap/survives-reset", OPEN_DEVICE, NEED_MMAP | NEED_RESET, survives_reset},
	{"A.6/mmap/partly-unmapped", OPEN_DEVICE, NEED_MMAP, partly_unmapped},
	{"A.6/mmap/protection-changed", OPEN_DEVICE, NEED_MMAP, protection_changed},
	{"A.6/mmap/read-only-write", OPEN_DEVICE, NEED_MMAP, read_only_write},
	{"A.6/mmap/cannot-grow", OPEN_DEVICE, NEED_MMAP, cannot_grow},
	{"A.6/mmap/moved", OPEN_DEVICE, NEED_MMAP, moved},
	{"A.6/mmap/msix-table", OPEN_DEVICE, NEED_TABLE, table_mappable},
	{"A.6/mmap/outlives-descriptor", OPEN_DEVICE, NEED_MMAP, outlives_descriptor},
};
const struct section section_a6_mmap = SECTION("A.6", rules);
