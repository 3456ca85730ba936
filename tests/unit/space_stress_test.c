/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that map, unmap, copy, pin, drain and ask, all at once.  What must hold: a transfer works
 * wholly or faults, and once unmap has returned, nobody writes to that memory any more.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/guard.h"
#include "iommu/space_private.h"

#define P       IOMMU_PAGE_SIZE
#define RANGES  128u
#define MAPPERS 2u
#define DEVICES 3u
#define DEVICE  0xDDDDDDDDDDDDDDDDull
#define MAPPER  0x4D4D4D4D4D4D4D4Dull

static struct {
	struct iommu_space *s;
	int fd, self;
	uint64_t *view;             /* of the file, to look at it from outside */
	uint64_t *anon;             /* a page for each range that is mapped as process memory */
	unsigned rounds, transfers; /* at least so many */
	_Atomic unsigned mapping;
	_Atomic uint64_t good, faults, bad;
} t;

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * 0x2545F4914F6CDD1Dull >> 20;
}

/* Ranges lie around the borders between trees and far apart, two pages each. */
static uint64_t iova_of(unsigned r)
{
	return ((uint64_t)(r % 8 + 1) << 42) + ((uint64_t)(r / 8) << 13) - 8 * P;
}

static _Atomic uint64_t *memory_of(unsigned r)
{
	return (_Atomic uint64_t *)((r % 4 ? t.view : t.anon) + r * 2 * P / 8);
}

static struct iommu_mem mem_of(unsigned r)
{
	if (r % 4)
		return (struct iommu_mem){IOMMU_MEM_FILE, t.fd, r * 2 * P, 2 * P, {1, r % 3}, P};
	return (struct iommu_mem){
		IOMMU_MEM_PROCESS, t.self, (uintptr_t)(t.anon + r * 2 * P / 8), 2 * P, {2, 2}, P};
}

static void *mapper(void *arg)
{
	unsigned mine = (unsigned)(uintptr_t)arg, last = RANGES;
	uint64_t seed = mine + 1, count;
	bool mapped[RANGES] = {false};

	for (unsigned i = 0; i < t.rounds || t.good < t.transfers || !t.faults; i++) {
		unsigned r = (unsigned)next(&seed) % (RANGES / MAPPERS) * MAPPERS + mine;
		_Atomic uint64_t *memory = memory_of(r);

		if (!mapped[r]) {
			struct iommu_mem mem = mem_of(r);

			/* Nobody wrote since it was unmapped. */
			t.bad += i && *memory != 0 && *memory != MAPPER;
			if (iommu_map(t.s, iova_of(r), 2 * P, IOMMU_READ | IOMMU_WRITE, &mem, 1))
				t.bad++;
		} else {
			if (iommu_unmap(t.s, iova_of(r), iova_of(r) + 2 * P - 1, &count) != 2 * P)
				t.bad++;
			*memory = MAPPER;
			if (last < RANGES && !mapped[last])
				t.bad += *memory_of(last) != MAPPER;
			last = r;
		}
		mapped[r] = !mapped[r];
	}
	t.mapping--;
	return NULL;
}

static void *device(void *arg)
{
	uint64_t seed = 100 + (uintptr_t)arg, buf[2 * 512], v = DEVICE;
	struct iommu_cache cache = {0};
	struct iommu_fault fault;

	while (t.mapping) {
		unsigned r = (unsigned)next(&seed) % RANGES;
		uint64_t iova = iova_of(r) + 8 * (next(&seed) % 1000);
		struct uvfio_dma_pin pin;
		struct iovec iov[2];
		int ret;

		switch (next(&seed) % 4) {
		case 0:
			ret = iommu_pin(t.s, &cache, iova_of(r), 2 * P, true, iov, 2, &pin, &fault);
			if (ret > 0) {
				/* Let others run while it is held. */
				sched_yield();
				uvfio_guard_store(iov[0].iov_base, 8, DEVICE);
				iommu_unpin(&pin);
			} else if (ret == -ENOTSUP && r % 4 == 0) {
				ret = 0;
			}
			break;
		case 1:
			ret = iommu_copy(t.s, &cache, iova_of(r), buf, 2 * P, false, &fault);
			break;
		case 2:
			ret = iommu_copy(t.s, NULL, iova, buf, 8, false, &fault);
			break;
		default:
			ret = iommu_copy(t.s, &cache, iova_of(r), &v, 8, true, &fault);
		}
		if (ret >= 0)
			t.good++;
		else if (ret == -EFAULT && fault.reason == IOMMU_FAULT_UNMAPPED)
			t.faults++;
		else
			t.bad++;
	}
	return NULL;
}

static void *drainer(void *arg)
{
	uint64_t seed = 7, first, size;

	while (t.mapping) {
		unsigned r = (unsigned)next(&seed) % RANGES;

		iommu_drain(t.s, iova_of(r), iova_of(r) + (next(&seed) % 2 << 45) + 2 * P - 1);
		iommu_find(t.s, iova_of(r), UINT64_MAX, &first, &size);
		t.bad += iommu_mapping_count(t.s) > RANGES;
	}
	return NULL;
}

static void everything_at_once(void **state)
{
	struct iommu_mem outside;
	pthread_t thread[MAPPERS + DEVICES + 1];
	unsigned n = 0;
	uint64_t count;

	/* A mapping that stays, so that the files stay too. */
	t.s = iommu_space_new(RANGES + 2);
	t.fd = memfd_create("stress", MFD_CLOEXEC);
	t.self = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	assert_int_equal(ftruncate(t.fd, RANGES * 2 * P), 0);
	t.view = mmap(NULL, RANGES * 2 * P, PROT_READ | PROT_WRITE, MAP_SHARED, t.fd, 0);
	t.anon = mmap(NULL, RANGES * 2 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	outside = mem_of(1);
	assert_int_equal(iommu_map(t.s, 0, 2 * P, IOMMU_READ, &outside, 1), 0);
	t.rounds = 30000;
	t.transfers = 60000;
	t.mapping = MAPPERS;
	for (uintptr_t i = 0; i < MAPPERS; i++)
		pthread_create(&thread[n++], NULL, mapper, (void *)i);
	for (uintptr_t i = 0; i < DEVICES; i++)
		pthread_create(&thread[n++], NULL, device, (void *)i);
	pthread_create(&thread[n++], NULL, drainer, NULL);
	while (n)
		pthread_join(thread[--n], NULL);
	assert_int_equal(t.bad, 0);
	assert_true(t.good > 0 && t.faults > 0);
	iommu_unmap(t.s, 0, UINT64_MAX, &count);
	assert_int_equal(t.s->used, 0);
	iommu_space_free(t.s);
	munmap(t.view, RANGES * 2 * P);
	munmap(t.anon, RANGES * 2 * P);
	close(t.fd);
	close(t.self);
}

/* Two threads map and remove all at once, over and over, in the same range. */
static void *greedy(void *arg)
{
	uint64_t seed = 1 + (uintptr_t)arg, count;

	for (unsigned i = 0; i < 40; i++) {
		for (unsigned k = 0; k < 600; k++) {
			struct iommu_mem mem = {IOMMU_MEM_FILE, t.fd, 0, P, {1, 1}, P};
			int ret = iommu_map(t.s, next(&seed) % 1024 * P, P, IOMMU_READ, &mem, 1);

			t.bad += ret && ret != -EEXIST;
		}
		iommu_unmap(t.s, 0, UINT64_MAX, &count);
	}
	return NULL;
}

static void unmap_all_at_once(void **state)
{
	pthread_t thread[3];

	t.s = iommu_space_new(3 * 1024); /* what is on its way out counts */
	t.fd = memfd_create("stress", MFD_CLOEXEC);
	t.bad = 0;
	assert_int_equal(ftruncate(t.fd, P), 0);
	for (uintptr_t i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, greedy, (void *)i);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(t.bad, 0);
	assert_int_equal(iommu_mapping_count(t.s), 0);
	assert_int_equal(t.s->used, 0);
	iommu_space_free(t.s);
	close(t.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_at_once),
		cmocka_unit_test(unmap_all_at_once),
	};

	if (uvfio_guard_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
