/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The in-flight counts of a mapping: leaving, and waiting until nobody is left; see
 * space_private.h for the word that they are in.
 */
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "iommu/space_private.h"
#include "iommu/xfer.h"

#define LOOKS   100u    /* without asking the kernel, */
#define LOOK_NS 100000u /* and with */

static uint32_t *half_of(struct iommu_mapping *m, unsigned phase)
{
	return (uint32_t *)&m->state + phase; /* little-endian */
}

/*
 * The remover may free the mapping as soon as the count is 0, so only its address is used from
 * there on.  A wake-up that hits a later user of the address makes a waiter look once more.
 */
void mapping_put(struct iommu_mapping *m, unsigned phase)
{
	uint32_t *half = half_of(m, phase);
	uint64_t one = phase ? STATE_COUNT1 : STATE_COUNT0;
	uint64_t state = __atomic_sub_fetch(&m->state, one, __ATOMIC_ACQ_REL);

	if (__builtin_expect(state & (STATE_DEAD | STATE_DRAIN), 0) && !mapping_count(state, phase))
		syscall(SYS_futex, half, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Most transfers end in less time than it takes to sleep and be woken up, which is 20 us and more
 * where the CPU has nothing else to do.  So look for a while first; who has work for this CPU, the
 * transfer perhaps, gets it. */
static bool ends_soon(struct iommu_mapping *m, unsigned phase)
{
	uint64_t start = 0;

	for (unsigned i = 0;; i++) {
		if (!mapping_count(__atomic_load_n(&m->state, __ATOMIC_ACQUIRE), phase))
			return true;
		if (i < LOOKS) {
			__builtin_ia32_pause();
			continue;
		}
		if (!start)
			start = now_ns();
		else if (now_ns() - start > LOOK_NS)
			return false;
		sched_yield();
	}
}

/* Wait until no transfer is in @phase.  DEAD or DRAIN is set. */
static void wait_phase(struct iommu_mapping *m, unsigned phase)
{
	uint64_t state;

	if (ends_soon(m, phase))
		return;
	while (mapping_count(state = __atomic_load_n(&m->state, __ATOMIC_ACQUIRE), phase))
		syscall(SYS_futex, half_of(m, phase), FUTEX_WAIT_PRIVATE,
			(uint32_t)(state >> (32 * phase)), NULL, NULL, 0);
}

void mapping_wait_quiet(struct iommu_mapping *m)
{
	uint64_t state = __atomic_load_n(&m->state, __ATOMIC_ACQUIRE);

	if (!(mapping_count(state, 0) | mapping_count(state, 1)))
		return;
	/* What would begin after this sees that it is dead. */
	xfer_abandon_mapping(m);
	/* Both at once: a drain moves its reference from one to the other. */
	while (state = __atomic_load_n(&m->state, __ATOMIC_ACQUIRE),
	       mapping_count(state, 0) | mapping_count(state, 1))
		wait_phase(m, !mapping_count(state, 0));
}

/* ---- drain ---- */

/* The first mapping in [@iova, @last] that has transfers in flight, with a reference of ours in
 * its current phase. */
static struct iommu_mapping *next_busy(struct iommu_space *s, uint64_t iova, uint64_t last,
				       unsigned *phase)
{
	struct iommu_mapping *found = NULL;
	struct tree_cursor c;
	bool more;

	space_lock(s);
	more = tree_seek(&s->tree, &c, iova >> PAGE_BITS);
	for (; more && c.entry.first <= last >> PAGE_BITS; more = tree_next(&c)) {
		struct iommu_mapping *m = entry_mapping(s, &c.entry);
		uint64_t state = __atomic_load_n(&m->state, __ATOMIC_ACQUIRE);

		if (m->life != MAPPING_LIVE || !(mapping_count(state, 0) | mapping_count(state, 1)))
			continue;
		__atomic_fetch_or(&m->state, STATE_DRAIN, __ATOMIC_ACQ_REL);
		*phase = state >> STATE_PHASE_BIT & 1; /* only drains change it */
		__atomic_fetch_add(&m->state, *phase ? STATE_COUNT1 : STATE_COUNT0,
				   __ATOMIC_ACQUIRE);
		found = m;
		break;
	}
	space_unlock(s);
	return found;
}

/* wait_phase() for a mapping that lives.  A transfer by messages may hold it and be about to start,
 * so those are abandoned until none is left. */
static void drain_phase(struct iommu_mapping *m, unsigned phase)
{
	const struct timespec soon = {.tv_nsec = 1000000};
	uint64_t state;

	while (mapping_count(state = __atomic_load_n(&m->state, __ATOMIC_ACQUIRE), phase) &&
	       xfer_abandon_mapping(m))
		syscall(SYS_futex, half_of(m, phase), FUTEX_WAIT_PRIVATE,
			(uint32_t)(state >> (32 * phase)), &soon, NULL, 0);
	wait_phase(m, phase);
}

void iommu_drain(struct iommu_space *s, uint64_t iova, uint64_t last)
{
	struct iommu_mapping *m;
	unsigned phase;

	if (last > IOMMU_IOVA_LAST)
		last = IOMMU_IOVA_LAST;
	pthread_mutex_lock(&s->drain_lock);
	while (iova <= last && (m = next_busy(s, iova, last, &phase))) {
		uint64_t next = m->last + 1;

		/* Those of the other phase began before the last change of phase; then no new one
		 * begins there, and the phases change places.  Our reference goes along. */
		drain_phase(m, !phase);
		__atomic_fetch_add(&m->state, phase ? STATE_COUNT0 : STATE_COUNT1,
				   __ATOMIC_ACQUIRE);
		__atomic_fetch_xor(&m->state, STATE_PHASE, __ATOMIC_ACQ_REL);
		mapping_put(m, phase);
		drain_phase(m, phase);
		__atomic_fetch_and(&m->state, ~STATE_DRAIN, __ATOMIC_ACQ_REL);
		mapping_put(m, !phase);
		iova = next;
	}
	pthread_mutex_unlock(&s->drain_lock);
}
