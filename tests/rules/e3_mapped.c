// SPDX-License-Identifier: BSD-3-Clause
/*
 * E.3, D.4: what others have of the memory of a device that stands still to be moved.  A VMM maps
 * BARs for DMA when it restores config space, and that is in RESUMING.
 */
#include <fcntl.h>
#include "d3.h"
#include "d4.h"
#include "e.h"

enum { STATUS = 0x34, COUNT = 0x3c };
enum { TO_MEMORY = 2 };        /* DMA_COMMAND */
enum { DONE = 2, FAILED = 3 }; /* DMA_STATUS */
enum { OFF = 0, ON = 6 };      /* COMMAND */

static const unsigned states[] = {STOP, STOP_COPY, RESUMING};

static void run(struct t *t, int session)
{
	must(t, "run", set_state(t, RUNNING, NULL));
	if (session >= 0)
		close(session);
}

/* The device writes a page of its own memory to @iova, where page @page of it should be: how that
 * ends, and whether it is there. */
static void see_reached(struct t *t, const char *label, uint64_t iova, unsigned page, uint32_t word,
			uint32_t want)
{
	uint32_t before = reg_get(t, COUNT), got = 0;

	memory_put(t, 2 * PAGE, &word, 4);
	memory_put(t, page * PAGE, &got, 4);
	dma_begin(t, iova, PAGE, 2 * PAGE, TO_MEMORY);
	must(t, "ends", dma_ended(t, before + 1) ? 0 : -EIO);
	see(t, label, reg_get(t, STATUS), want);
	memory_get(t, page * PAGE, &got, 4);
	see_hex(t, label, got, want == DONE ? word : 0);
}

static void by_address(struct t *t)
{
	uint64_t iova = t->f->iova_first;
	void *map;

	movable(t, 0);
	needs_pcitest(t);
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, t->dev,
		   (off_t)t->f->region_offset[2]);
	must(t, "map", map == MAP_FAILED ? -errno : 0);
	cfg_write(t, 4, 2, ON);
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		const char *name = state_name(states[i]);
		int session = go(t, states[i]);
		uint64_t size = 2 * PAGE;

		see(t, name, dma_map(t->container, iova, map, PAGE), 0);
		cfg_write(t, 4, 2, OFF);
		see(t, "memory-off", dma_map(t->container, iova + PAGE, map, PAGE), 0);
		cfg_write(t, 4, 2, ON);
		run(t, session);
		see_reached(t, "reached", iova, 0, 0x51 + (uint32_t)i, DONE);
		see_reached(t, "reached", iova + PAGE, 0, 0x54 + (uint32_t)i, DONE);
		see(t, "unmap", dma_unmap(t->container, iova, &size), 0);
	}
	/* What was mapped before is there afterwards, also when decode was off meanwhile (D.4.6).
	 */
	must(t, "mapped", dma_map(t->container, iova, map, PAGE));
	for (unsigned off = 0; off < 2; off++) {
		int session = go(t, STOP);

		if (off) {
			cfg_write(t, 4, 2, OFF);
			cfg_write(t, 4, 2, ON);
		}
		run(t, session);
		see_reached(t, "again", iova, 0, 0x61 + off, DONE);
	}
}

static int export_page(struct t *t, unsigned page)
{
	struct export_range range = {page * PAGE, PAGE};
	long fd = export_ranges(t, 2, O_RDWR | O_CLOEXEC, 0, &range, 1);

	must(t, "export", fd);
	return (int)fd;
}

/* An iommufd's mapping is revoked for good, when it is: by what revokes it otherwise, and by no
 * state. */
static void by_export(struct t *t)
{
	struct d3 d;
	uint64_t to = t->f->iova_first + 0x400000;
	int fd;

	open_attached(t, &d);
	movable(t, 0);
	needs_pcitest(t);
	cfg_write(t, 4, 2, ON);
	fd = export_page(t, 0);
	must(t, "map", map_file(t, d.ioas, fd, 0, PAGE, FIXED | READ | WRITE, to));
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		int session = go(t, states[i]), again = export_page(t, 1);
		uint64_t n = PAGE;

		see(t, state_name(states[i]),
		    map_file(t, d.ioas, again, 0, PAGE, FIXED | READ | WRITE, to + PAGE), 0);
		run(t, session);
		see_reached(t, "before", to, 0, 0x71 + (uint32_t)i, DONE);
		see_reached(t, "meanwhile", to + PAGE, 1, 0x81 + (uint32_t)i, DONE);
		must(t, "unmap", unmap(t, d.ioas, to + PAGE, &n));
		close(again);
	}
	go(t, STOP);
	cfg_write(t, 4, 2, OFF);
	fd = export_page(t, 1);
	see(t, "memory-off", map_file(t, d.ioas, fd, 0, PAGE, FIXED | READ | WRITE, to + PAGE), 0);
	cfg_write(t, 4, 2, ON);
	run(t, -1);
	see_reached(t, "revoked", to, 0, 0x91, FAILED);
	see_reached(t, "mapped-since", to + PAGE, 1, 0x92, DONE);
	/* It may run without, and is revoked then. */
	go(t, STOP);
	cfg_write(t, 4, 2, OFF);
	run(t, -1);
	cfg_write(t, 4, 2, ON);
	see_reached(t, "revoked", to + PAGE, 1, 0x93, FAILED);
}

static const struct rule rules[] = {
	{"E.3/mapped/by-address", OPEN_DEVICE, NEED_IOMMU | NEED_BAR | NEED_MMAP, by_address},
	{"E.3/mapped/by-export", OPEN_NOTHING, NEED_IOMMUFD | NEED_BAR, by_export},
};
const struct section section_e3_mapped = SECTION("E.3", rules);
