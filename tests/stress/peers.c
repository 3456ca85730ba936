/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device memory (D.4) behind further windows: the upper half of a test device's BAR 2, which all
 * devices of the space read and write, its owner too.  What holds for memory holds for it: a byte
 * of a part that is not mapped is BYTE_GONE, stays that, and is delivered nowhere.
 *
 * The owner's memory goes away and comes back (a reset, memory decode off), and the owner is closed
 * and opened again.  What was mapped before is dead then, for good after a close, and at any time
 * by iommufd: it is as good as unmapped, and so filled with BYTE_GONE, until it is unmapped and
 * mapped anew.
 *
 * Threads: a mapper of its own.  Whoever touches the owner's memory, or takes it away, holds
 * ->lock.
 */
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "devices/pcitest/pcitest_spec.h"
#include "stress/stress.h"

#define FIRST_AT (PEERS * WINDOW_BYTES) /* the lower half is the engine's own */

static uint64_t iova_of(unsigned n)
{
	return WINDOW_IOVA + (uint64_t)(WINDOWS + n) * WINDOW_BYTES;
}

static uint64_t offset_of(unsigned n)
{
	return FIRST_AT + (uint64_t)n * WINDOW_BYTES;
}

/* ---- the owner's memory, through the door ---- */

static void fill(struct peers *p, unsigned n, uint8_t byte)
{
	memset(p->data, byte, WINDOW_BYTES);
	if (uvfio_pci_write(p->owner->dev, PCITEST_BAR_MEMORY, offset_of(n), p->data,
			    WINDOW_BYTES) != WINDOW_BYTES)
		stress_bad(p->stress, "%s: its memory cannot be written", p->owner->name);
}

static void check_gone(struct peers *p, unsigned n, const char *when)
{
	size_t at;

	if (uvfio_pci_read(p->owner->dev, PCITEST_BAR_MEMORY, offset_of(n), p->data,
			   WINDOW_BYTES) != WINDOW_BYTES) {
		stress_bad(p->stress, "%s: its memory cannot be read", p->owner->name);
		return;
	}
	at = stress_other(p->data, BYTE_GONE, WINDOW_BYTES);
	p->stress->checks++;
	if (at < WINDOW_BYTES)
		stress_bad(p->stress, "%s: part %u of its memory: byte %#zx is %#x %s",
			   p->owner->name, n, at, p->data[at], when);
}

/* ---- mapping ---- */

static void map(struct peers *p, unsigned n)
{
	static const unsigned prots[8] = {UVFIO_PCI_DMA_READ, UVFIO_PCI_DMA_WRITE};
	struct uvfio_pci *dev = p->owner->dev;
	unsigned prot = prots[stress_below(&p->seed, 8)];
	uint64_t iova = iova_of(n), at = 0;
	struct uvfio_error err;
	void *addr = NULL;
	int fd = -1, ret;

	check_gone(p, n, "after it was unmapped");
	if (!prot)
		prot = UVFIO_PCI_DMA_RW;
	if (prot & UVFIO_PCI_DMA_READ)
		fill(p, n, BYTE_MAPPED);
	if (uvfio_pci_get_way(dev) == UVFIO_PCI_WAY_GROUP) {
		ret = uvfio_pci_map_region(dev, PCITEST_BAR_MEMORY, &err);
		addr = ret ? NULL
			   : (void *)(uintptr_t)uvfio_pci_mapping(dev, PCITEST_BAR_MEMORY,
								  offset_of(n), WINDOW_BYTES);
	} else {
		ret = fd = uvfio_pci_region_fd(dev, PCITEST_BAR_MEMORY, offset_of(n), WINDOW_BYTES,
					       &at, &err);
	}
	if (ret >= 0)
		ret = uvfio_dma_space_map(p->stress->space, addr, WINDOW_BYTES,
					  prot | UVFIO_PCI_DMA_FIXED, fd, at, &iova, &err);
	if (fd >= 0)
		close(fd);
	if (ret) {
		stress_bad(p->stress, "%s: mapping part %u of its memory: %s", p->owner->name, n,
			   err.msg);
		fill(p, n, BYTE_GONE);
		return;
	}
	p->parts[n] = PART_MAPPED;
	p->stress->peer_maps++;
}

static void take_back(struct peers *p, unsigned n)
{
	int ret = uvfio_dma_space_unmap(p->stress->space, iova_of(n), WINDOW_BYTES);

	if (ret)
		stress_bad(p->stress, "%s: unmapping part %u of its memory: %s", p->owner->name, n,
			   strerror(-ret));
	p->parts[n] = PART_UNMAPPED;
}

static void unmap(struct peers *p, unsigned n)
{
	bool dead = p->parts[n] == PART_DEAD;

	take_back(p, n);
	if (dead)
		check_gone(p, n, "after its memory had been away");
	fill(p, n, BYTE_GONE);
}

static void *peers_run(void *arg)
{
	struct peers *p = arg;

	while (!p->stress->stop) {
		unsigned n = stress_below(&p->seed, PEERS);

		pthread_mutex_lock(&p->lock);
		if (p->owner->dev) {
			if (p->parts[n] == PART_UNMAPPED)
				map(p, n);
			else if (p->parts[n] == PART_DEAD || !stress_below(&p->seed, 4))
				unmap(p, n);
		}
		pthread_mutex_unlock(&p->lock);
		/* A mutex is nobody's turn: let the owner have it. */
		sched_yield();
	}
	return NULL;
}

/* ---- what the owner does, in its own thread ---- */

void peers_hold(struct engine *e)
{
	struct peers *p = &e->stress->peers;

	if (p->owner == e)
		pthread_mutex_lock(&p->lock);
}

/* A connection that is new is told of all that is mapped in its space, and what it is told by an fd
 * of before may be the device's new memory.  So nothing is mapped meanwhile. */
void peers_before_close(struct engine *e, bool replaced)
{
	struct peers *p = &e->stress->peers;

	if (p->owner != e || uvfio_pci_get_way(e->dev) != UVFIO_PCI_WAY_VFIO_USER)
		return;
	for (unsigned n = 0; n < PEERS; n++) {
		if (p->parts[n] == PART_UNMAPPED)
			continue;
		take_back(p, n);
		if (!replaced)
			fill(p, n, BYTE_GONE);
	}
}

void peers_let_go(struct engine *e, enum peers_event event)
{
	struct peers *p = &e->stress->peers;
	bool latched;

	if (p->owner != e)
		return;
	latched = event == PEERS_CLOSED || event == PEERS_REPLACED ||
		  (event == PEERS_AWAY && uvfio_pci_get_way(e->dev) == UVFIO_PCI_WAY_CDEV);
	for (unsigned n = 0; latched && n < PEERS; n++) {
		/* What is unmapped is it still. */
		if (event != PEERS_REPLACED && p->parts[n] != PART_MAPPED) {
			check_gone(p, n, "though it was not mapped");
			continue;
		}
		if (p->parts[n] == PART_MAPPED) {
			p->parts[n] = PART_DEAD;
			p->stress->peer_deaths++;
		}
		fill(p, n, BYTE_GONE);
	}
	pthread_mutex_unlock(&p->lock);
}

int peers_start(struct stress *s)
{
	struct peers *p = &s->peers;

	if (!p->owner)
		return 0;
	p->stress = s;
	p->seed = stress_random(&s->seed) | 1;
	for (unsigned n = 0; n < PEERS; n++)
		fill(p, n, BYTE_GONE);
	return pthread_create(&p->thread, NULL, peers_run, p);
}

void peers_end(struct stress *s)
{
	struct peers *p = &s->peers;

	if (!p->owner)
		return;
	pthread_join(p->thread, NULL);
	if (!p->owner->dev) /* it could not be opened again, which was said */
		return;
	for (unsigned n = 0; n < PEERS; n++) {
		if (p->parts[n] != PART_UNMAPPED)
			unmap(p, n);
		check_gone(p, n, "at the end");
	}
}
