/* SPDX-License-Identifier: BSD-3-Clause */
/* An address space: what transfers see, what removal waits for, and what a client cannot use up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/guard.h"
#include "iommu/space_private.h"

#define P  IOMMU_PAGE_SIZE
#define RW (IOMMU_READ | IOMMU_WRITE)
#ifdef UVFIO_TSAN
#define VMA_SLACK 200 /* ThreadSanitizer's own */
#else
#define VMA_SLACK 8
#endif

static uint64_t seed = 1;

/* cmocka puts its own handler in front for each test. */
static struct sigaction guard_action;

static void use_guard(void)
{
	assert_int_equal(sigaction(SIGBUS, &guard_action, NULL), 0);
}

static uint64_t rnd(uint64_t n)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (seed * 0x2545F4914F6CDD1Dull >> 16) % n;
}

/* A memfd whose page n holds the number n in each 8 bytes. */
static int numbered_file(uint64_t pages)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	uint64_t *p;

	assert_true(fd >= 0 && ftruncate(fd, (off_t)(pages * P)) == 0);
	p = mmap(NULL, pages * P, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	for (uint64_t i = 0; i < pages * P / 8; i++)
		p[i] = i / (P / 8);
	munmap(p, pages * P);
	return fd;
}

static struct iommu_mem file_mem(int fd, uint64_t page, uint64_t pages)
{
	return (struct iommu_mem){IOMMU_MEM_FILE, fd, page * P, pages * P, {1, (uint64_t)fd}, P};
}

static struct iommu_mem process_mem(int fd, const void *addr, uint64_t pages)
{
	return (struct iommu_mem){IOMMU_MEM_PROCESS, fd, (uintptr_t)addr, pages * P,
				  {2, (uint64_t)fd}, P};
}

static void map1(struct iommu_space *s, uint64_t page, uint64_t pages, unsigned prot,
		 struct iommu_mem mem)
{
	assert_int_equal(iommu_map(s, page * P, pages * P, prot, &mem, 1), 0);
}

static uint64_t read8(struct iommu_space *s, struct iommu_cache *cache, uint64_t iova, int *ret)
{
	uint64_t v = ~0ull;

	*ret = iommu_copy(s, cache, iova, &v, 8, false, NULL);
	return v;
}

static unsigned count_lines(const char *path)
{
	FILE *f = fopen(path, "r");
	unsigned n = 0;

	for (int c; (c = getc(f)) != EOF;)
		n += c == '\n';
	fclose(f);
	return n;
}

static unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void copies(void **state)
{
	struct iommu_space *s = iommu_space_new(100);
	struct iommu_cache cache = {0};
	struct iommu_fault f;
	int fd = numbered_file(16), self = open("/proc/self/mem", O_RDWR | O_CLOEXEC), ret;
	char *anon = mmap(NULL, 4 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t first, size, count;
	static uint8_t buf[16 * 4096];

	memset(anon, 'a', 4 * P);
	map1(s, 16, 4, RW, file_mem(fd, 2, 4));
	map1(s, 20, 4, RW, process_mem(self, anon, 4));
	map1(s, 24, 2, IOMMU_READ, file_mem(fd, 8, 2));
	map1(s, 26, 2, IOMMU_WRITE, file_mem(fd, 10, 2));
	assert_int_equal(iommu_mapping_count(s), 4);

	assert_int_equal(read8(s, &cache, 16 * P, &ret), 2);
	assert_int_equal(read8(s, &cache, 19 * P + 8, &ret), 5);
	assert_int_equal(read8(s, &cache, 25 * P, &ret), 9);
	/* Across four mappings, at odd addresses. */
	assert_int_equal(iommu_copy(s, &cache, 16 * P + 5, buf, 10 * P - 10, false, &f), 0);
	assert_int_equal(buf[3], 2); /* the lowest byte of the second number */
	assert_int_equal(buf[4 * P - 5], 'a');
	assert_int_equal(buf[8 * P - 6], 'a');
	assert_int_equal(buf[8 * P - 5], 8);
	/* Back through the same, as far as may be written. */
	memset(buf, 7, sizeof(buf));
	assert_int_equal(iommu_copy(s, &cache, 17 * P + 1, buf, 8 * P, true, &f), -EFAULT);
	assert_int_equal(f.reason, IOMMU_FAULT_PERMISSION);
	assert_int_equal(f.iova, 24 * P);
	assert_int_equal(f.len, P + 1);
	assert_true(f.write);
	assert_int_equal(anon[0], 7);
	assert_int_equal(anon[4 * P - 1], 7);
	assert_int_equal(read8(s, NULL, 17 * P + 8, &ret), 0x0707070707070707);
	assert_int_equal(pread(fd, buf, 2, 3 * (off_t)P), 2);
	assert_int_equal(buf[0], 3);
	assert_int_equal(buf[1], 7);
	/* What the device may write it may not read. */
	assert_int_equal(iommu_copy(s, &cache, 26 * P, buf, 1, false, &f), -EFAULT);
	assert_int_equal(f.reason, IOMMU_FAULT_PERMISSION);
	assert_int_equal(iommu_copy(s, &cache, 26 * P, buf, 1, true, &f), 0);
	/* Holes and ends. */
	assert_int_equal(iommu_copy(s, &cache, 27 * P, buf, P + 1, true, &f), -EFAULT);
	assert_int_equal(f.reason, IOMMU_FAULT_UNMAPPED);
	assert_int_equal(f.iova, 28 * P);
	assert_int_equal(f.len, 1);
	assert_int_equal(iommu_copy(s, &cache, 15 * P, buf, 1, false, &f), -EFAULT);
	assert_int_equal(iommu_copy(s, &cache, UINT64_MAX - 3, buf, 8, false, &f), -EFAULT);
	assert_int_equal(f.reason, IOMMU_FAULT_UNMAPPED);
	assert_int_equal(iommu_copy(s, &cache, 0, buf, 0, false, &f), 0);

	/* Mechanism of find, overlap and unmap. */
	assert_true(iommu_overlaps(s, 0, 16 * P));
	assert_false(iommu_overlaps(s, 0, 16 * P - 1));
	assert_true(iommu_overlaps(s, 27 * P, 99 * P));
	assert_true(iommu_find(s, 0, 17 * P, &first, &size));
	assert_int_equal(first, 16 * P);
	assert_int_equal(size, 4 * P);
	assert_false(iommu_find(s, 28 * P, UINT64_MAX, &first, &size));
	assert_int_equal(iommu_unmap(s, 16 * P + 1, 26 * P - 1, &count), 6 * P);
	assert_int_equal(count, 2);
	assert_int_equal(read8(s, &cache, 20 * P, &ret), ~0ull);
	assert_int_equal(ret, -EFAULT);
	assert_int_equal(iommu_mapping_count(s), 2);
	iommu_space_free(s);
	munmap(anon, 4 * P);
	close(self);
	close(fd);
}

/* What a cache remembers does not outlive its mapping, also when another one has got its place. */
static void cache_is_not_believed(void **state)
{
	struct iommu_space *s = iommu_space_new(4);
	struct iommu_cache cache = {0};
	int fd = numbered_file(64), ret;
	uint64_t nr;

	map1(s, 10, 1, RW, file_mem(fd, 3, 1));
	assert_int_equal(read8(s, &cache, 10 * P, &ret), 3);
	assert_int_equal(iommu_unmap(s, 10 * P, 11 * P - 1, &nr), P);
	/* Until its place has had another one, which is so after some thousands. */
	for (uint64_t i = 0; i < 20000; i++) {
		struct iommu_cache old = cache;
		uint64_t page = 100 + i;

		map1(s, page, 1, RW, file_mem(fd, 20, 1));
		read8(s, &old, 10 * P, &ret);
		assert_int_equal(ret, -EFAULT);
		assert_int_equal(iommu_unmap(s, page * P, (page + 1) * P - 1, &nr), P);
	}
	iommu_space_free(s);
	close(fd);
}

static void refusals(void **state)
{
	struct iommu_space *s = iommu_space_new(2);
	int fd = numbered_file(4), ro = -1;
	char path[64];
	struct {
		uint64_t iova, size;
		struct iommu_mem mem;
		int ret;
	} row[] = {
		{0, 0, file_mem(fd, 0, 0), -EINVAL},
		{1, P, file_mem(fd, 0, 1), -EINVAL},
		{0, P + 1, file_mem(fd, 0, 1), -EINVAL},
		{1ull << 48, P, file_mem(fd, 0, 1), -EINVAL},
		{(1ull << 48) - P, 2 * P, file_mem(fd, 0, 2), -EINVAL},
		{P, -P, file_mem(fd, 0, 2), -EINVAL},
		{0, 2 * P, file_mem(fd, 0, 1), -EINVAL}, /* lengths differ */
		{0, P, file_mem(fd, 0, 2), -EINVAL},
		{0, P, file_mem(fd, 4, 1), -EFAULT}, /* behind the end of the file */
		{0, P, {IOMMU_MEM_FILE, fd, 1ull << 62, P, {1, 9}, P}, -EFAULT},
		{0, P, {IOMMU_MEM_FILE, fd, 0, P, {1, 9}, P + 1}, -EFAULT},
		{0, P, {IOMMU_MEM_FILE, -1, 0, P, {1, 9}, P}, -EFAULT},
		{0, P, {IOMMU_MEM_PROCESS, -1, 0, P, {2, 9}, P}, -EFAULT},
		{(1ull << 48) - P, P, file_mem(fd, 0, 1), 0},
		{(1ull << 48) - P, P, file_mem(fd, 0, 1), -EEXIST},
		{(1ull << 48) - 2 * P, 2 * P, file_mem(fd, 0, 2), -EEXIST},
		{0, P, file_mem(fd, 3, 1), 0},
		{P, P, file_mem(fd, 0, 1), -ENOMEM}, /* two is what it was made for */
	};

	for (unsigned i = 0; i < sizeof(row) / sizeof(*row); i++) {
		int ret = iommu_map(s, row[i].iova, row[i].size, RW, &row[i].mem, 1);

		if (ret != row[i].ret)
			fail_msg("row %u: %d instead of %d", i, ret, row[i].ret);
	}
	assert_int_equal(iommu_mapping_count(s), 2);
	iommu_space_free(s);

	/* A file that may not be written is mapped for reading only. */
	s = iommu_space_new(2);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY);
	assert_true(ro >= 0);
	struct iommu_mem mem = file_mem(ro, 0, 1);

	assert_int_equal(iommu_map(s, 0, P, RW, &mem, 1), -EFAULT);
	assert_int_equal(iommu_map(s, 0, P, IOMMU_READ, &mem, 1), 0);
	iommu_space_free(s);
	close(ro);
	close(fd);
}

static void interrupt_window(void **state)
{
	struct iommu_space *s = iommu_space_new(2);
	int fd = numbered_file(1024);
	struct iommu_fault f;
	struct iovec iov[4];
	struct uvfio_dma_pin pin;
	static uint8_t buf[3 * 4096];

	/* The mechanism takes the range; devices never get there. */
	map1(s, IOMMU_MSI_FIRST / P - 2, 512, RW, file_mem(fd, 0, 512));
	assert_int_equal(iommu_copy(s, NULL, IOMMU_MSI_FIRST - P, buf, P, true, &f), 0);
	assert_int_equal(iommu_copy(s, NULL, IOMMU_MSI_FIRST - P, buf, P + 4, true, &f), -EFAULT);
	assert_int_equal(f.reason, IOMMU_FAULT_INTERRUPT_WINDOW);
	assert_int_equal(f.iova, IOMMU_MSI_FIRST);
	assert_int_equal(f.len, 4);
	assert_int_equal(iommu_copy(s, NULL, IOMMU_MSI_LAST, buf, 1, false, &f), -EFAULT);
	assert_int_equal(iommu_copy(s, NULL, IOMMU_MSI_LAST + 1, buf, 1, false, &f), 0);
	assert_int_equal(iommu_pin(s, NULL, IOMMU_MSI_FIRST - P, 2 * P, true, iov, 4, &pin, &f),
			 -EFAULT);
	assert_int_equal(f.reason, IOMMU_FAULT_INTERRUPT_WINDOW);
	/* Unmapped but inside: still the window. */
	iommu_space_free(s);
	s = iommu_space_new(1);
	assert_int_equal(iommu_copy(s, NULL, IOMMU_MSI_FIRST, buf, 4, true, &f), -EFAULT);
	assert_int_equal(f.reason, IOMMU_FAULT_INTERRUPT_WINDOW);
	iommu_space_free(s);
	close(fd);
}

static void memory_that_goes(void **state)
{
	struct iommu_space *s = iommu_space_new(10);
	int fd = numbered_file(8), mem, ret, status;
	struct iommu_fault f;
	char path[64], buf[64];
	void *page = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iommu_mem self;
	pid_t pid;

	use_guard();
	/* Truncated. */
	map1(s, 0, 8, RW, file_mem(fd, 0, 8));
	assert_int_equal(read8(s, NULL, 7 * P, &ret), 7);
	assert_int_equal(ftruncate(fd, 2 * P), 0);
	assert_int_equal(iommu_copy(s, NULL, 7 * P, buf, 8, false, &f), -EIO);
	assert_int_equal(f.reason, IOMMU_FAULT_GONE);
	assert_int_equal(iommu_copy(s, NULL, 7 * P, buf, 8, true, &f), -EIO);
	assert_int_equal(read8(s, NULL, P, &ret), 1);
	/* And grown again: the same mapping works. */
	assert_int_equal(ftruncate(fd, 8 * P), 0);
	assert_int_equal(read8(s, NULL, 7 * P, &ret), 0);
	assert_int_equal(ret, 0);

	/* A process that dies, and one that unmaps. */
	memset(page, 'x', P);
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	mem = open(path, O_RDWR);
	map1(s, 100, 1, RW, process_mem(mem, page, 1));
	assert_int_equal(read8(s, NULL, 100 * P, &ret), 0x7878787878787878);
	memcpy(buf, "written", 8);
	assert_int_equal(iommu_copy(s, NULL, 100 * P + 9, buf, 8, true, &f), 0);
	assert_int_equal(iommu_copy(s, NULL, 100 * P + 9, buf + 16, 8, false, &f), 0);
	assert_string_equal(buf + 16, "written");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	assert_int_equal(iommu_copy(s, NULL, 100 * P, buf, 8, false, &f), -EIO);
	assert_int_equal(f.reason, IOMMU_FAULT_GONE);
	assert_int_equal(f.iova, 100 * P);
	assert_int_equal(iommu_copy(s, NULL, 100 * P, buf, 8, true, &f), -EIO);
	close(mem);
	mem = open("/proc/self/mem", O_RDWR);
	self = process_mem(mem, page, 1);
	self.file_id[0] = 3; /* another address space, whatever number the fd has */
	map1(s, 101, 1, RW, self);
	assert_int_equal(read8(s, NULL, 101 * P, &ret), 0x7878787878787878);
	munmap(page, P);
	assert_int_equal(iommu_copy(s, NULL, 101 * P, buf, 8, false, &f), -EIO);
	iommu_space_free(s);
	close(mem);
	close(fd);
}

static void pieces_and_pins(void **state)
{
	struct iommu_space *s = iommu_space_new(100);
	int fd = numbered_file(64), self = open("/proc/self/mem", O_RDWR), ret;
	char *anon = mmap(NULL, 4 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iommu_mem mem[] = {
		file_mem(fd, 4, 1),         file_mem(fd, 5, 2), /* one piece */
		process_mem(self, anon, 1), file_mem(fd, 20, 3), file_mem(fd, 30, 1),
	};
	struct uvfio_dma_pin pin, many;
	struct iommu_fault f;
	struct iovec iov[20];
	uint64_t count, v;
	static uint8_t buf[8 * 4096];

	memset(anon, 'p', 4 * P);
	assert_int_equal(iommu_map(s, 0, 8 * P, RW, mem, 5), 0);
	assert_int_equal(iommu_copy(s, NULL, 0, buf, sizeof(buf), false, &f), 0);
	static const uint8_t want[] = {4, 5, 6, 'p', 20, 21, 22, 30};
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(buf[i * P], want[i]);
	assert_int_equal(read8(s, NULL, 6 * P + 8, &ret), 22);
	/* Across the border of two pieces. */
	v = 0x1122334455667788;
	assert_int_equal(iommu_copy(s, NULL, 7 * P - 4, &v, 8, true, &f), 0);
	assert_int_equal(read8(s, NULL, 7 * P - 4, &ret), v);

	/* Pins: pieces that follow one another share an entry; a process has no host address. */
	assert_int_equal(iommu_pin(s, NULL, 4 * P + 8, 2 * P, false, iov, 20, &pin, &f), 1);
	assert_int_equal(iov[0].iov_len, 2 * P);
	assert_int_equal(*(uint64_t *)iov[0].iov_base, 20);
	iommu_unpin(&pin);
	assert_int_equal(iommu_pin(s, NULL, 4 * P, 4 * P, false, iov, 20, &pin, &f), 2);
	assert_int_equal(iov[0].iov_len, 3 * P);
	assert_int_equal(iov[1].iov_len, P);
	iommu_unpin(&pin);
	assert_int_equal(iommu_pin(s, NULL, 4 * P, 4 * P, false, iov, 1, &pin, &f), -E2BIG);
	assert_int_equal(iommu_pin(s, NULL, 0, 4 * P, false, iov, 20, &pin, &f), -ENOTSUP);
	assert_int_equal(iommu_pin(s, NULL, 7 * P, 2 * P, false, iov, 20, &pin, &f), -EFAULT);
	assert_int_equal(f.iova, 8 * P);
	assert_int_equal(f.len, P);
	assert_int_equal(iommu_pin(s, NULL, 0, 0, false, iov, 20, &pin, &f), 0);
	iommu_unpin(&pin);

	/* Many mappings in one pin, and the count of references comes out right: nothing waits. */
	for (unsigned i = 0; i < 16; i++)
		map1(s, 100 + i, 1, RW, file_mem(fd, 40 + i, 1));
	assert_int_equal(iommu_pin(s, NULL, 100 * P, 16 * P, true, iov, 20, &many, &f), 1);
	assert_int_equal(iov[0].iov_len, 16 * P);
	iommu_unpin(&many);
	for (unsigned i = 0; i < 16; i++)
		map1(s, 200 + i, 1, RW, file_mem(fd, 40 - 2 * i, 1));
	assert_int_equal(iommu_pin(s, NULL, 200 * P, 16 * P, true, iov, 20, &many, &f), 16);
	iommu_unpin(&many);
	assert_int_equal(iommu_pin(s, NULL, 200 * P, 16 * P, true, iov, 15, &many, &f), -E2BIG);
	assert_int_equal(iommu_unmap(s, 0, UINT64_MAX, &count), (8 + 16 + 16) * P);
	assert_int_equal(s->pieces, 0);
	assert_int_equal(s->files->nr_files, 0);
	assert_int_equal(s->files->nr_processes, 0);
	iommu_space_free(s);
	munmap(anon, 4 * P);
	close(self);
	close(fd);
}

/* ---- what removal waits for ---- */

struct waiter {
	struct iommu_space *s;
	uint64_t iova, last;
	bool drain;
	_Atomic bool done;
};

static void *wait_thread(void *arg)
{
	struct waiter *w = arg;
	uint64_t count;

	if (w->drain)
		iommu_drain(w->s, w->iova, w->last);
	else
		iommu_unmap(w->s, w->iova, w->last, &count);
	w->done = true;
	return NULL;
}

static void unmap_waits_for_its_own(void **state)
{
	struct iommu_space *s = iommu_space_new(100);
	struct waiter w = {s, 0, 4 * P - 1, false, false};
	int fd = numbered_file(64), ret;
	struct uvfio_dma_pin pin, other, late;
	struct iovec iov;
	uint64_t count, first, size;
	pthread_t t;

	map1(s, 0, 2, RW, file_mem(fd, 0, 2));
	map1(s, 2, 2, RW, file_mem(fd, 2, 2));
	map1(s, 10, 1, RW, file_mem(fd, 10, 1));
	assert_int_equal(iommu_pin(s, NULL, 3 * P, 1, true, &iov, 1, &pin, NULL), 1);
	assert_int_equal(iommu_pin(s, NULL, 10 * P, 1, true, &iov, 1, &other, NULL), 1);
	pthread_create(&t, NULL, wait_thread, &w);
	while (iommu_find(s, 0, 4 * P, &first, &size))
		sched_yield();
	/* It is out, and not yet let go.  Others are not held up. */
	assert_false(w.done);
	assert_int_equal(iommu_pin(s, NULL, 3 * P, 1, true, &iov, 1, &late, NULL), -EFAULT);
	map1(s, 20, 1, RW, file_mem(fd, 20, 1));
	map1(s, 2, 1, RW, file_mem(fd, 30, 1)); /* the range is free */
	assert_int_equal(read8(s, NULL, 2 * P, &ret), 30);
	assert_int_equal(iommu_unmap(s, 20 * P, 21 * P - 1, &count), P);
	assert_false(w.done);
	iommu_unpin(&pin);
	pthread_join(t, NULL); /* though the other pin is still there */
	assert_int_equal(iommu_unmap(s, 2 * P, 3 * P - 1, &count), P);
	iommu_unpin(&other);
	iommu_space_free(s);
	close(fd);
}

static void drain_waits_for_earlier_ones(void **state)
{
	struct iommu_space *s = iommu_space_new(100);
	struct waiter w = {s, 0, UINT64_MAX, true, false};
	int fd = numbered_file(64);
	struct uvfio_dma_pin before, after, second;
	struct iommu_mapping *m;
	struct iovec iov;
	uint64_t count;
	pthread_t t;

	map1(s, 0, 2, RW, file_mem(fd, 0, 2));
	m = entry_mapping(s, &(struct tree_entry){.word = TREE_PRESENT | 1 << TREE_INDEX_SHIFT});
	iommu_drain(s, 0, UINT64_MAX);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t phase = m->state & STATE_PHASE;

		w.done = false;
		assert_int_equal(iommu_pin(s, NULL, P, 1, true, &iov, 1, &before, NULL), 1);
		pthread_create(&t, NULL, wait_thread, &w);
		while ((__atomic_load_n(&m->state, __ATOMIC_ACQUIRE) & STATE_PHASE) == phase)
			sched_yield();
		/* One that begins now does not prolong it. */
		assert_int_equal(iommu_pin(s, NULL, P, 1, true, &iov, 1, &after, NULL), 1);
		assert_false(w.done);
		iommu_unpin(&before);
		pthread_join(t, NULL);
		iommu_unpin(&after);
	}
	/* An unmap meanwhile: both end. */
	assert_int_equal(iommu_pin(s, NULL, P, 1, true, &iov, 1, &second, NULL), 1);
	w.done = false;
	pthread_create(&t, NULL, wait_thread, &w);
	while (!(__atomic_load_n(&m->state, __ATOMIC_ACQUIRE) & STATE_DRAIN))
		sched_yield();
	struct waiter u = {s, 0, UINT64_MAX, false, false};
	pthread_t t2;
	pthread_create(&t2, NULL, wait_thread, &u);
	while (iommu_mapping_count(s))
		sched_yield();
	assert_false(w.done || u.done);
	iommu_unpin(&second);
	pthread_join(t, NULL);
	pthread_join(t2, NULL);
	assert_int_equal(iommu_unmap(s, 0, UINT64_MAX, &count), 0);
	iommu_space_free(s);
	close(fd);
}

/* ---- what a client cannot use up ---- */

static void vmas_and_fds(void **state)
{
	enum { N = 20000 };
	struct iommu_space *s = iommu_space_new(N);
	int fd = numbered_file(1), self = open("/proc/self/mem", O_RDWR), ret;
	unsigned vmas, fds;
	uint64_t count;
	char *anon = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iommu_mem mem;

	assert_int_equal(ftruncate(fd, 1ll << 36), 0);
	map1(s, 1 << 20, 1, RW, file_mem(fd, 0, 1));
	map1(s, 2 << 20, 1, RW, process_mem(self, anon, 1));
	vmas = count_lines("/proc/self/maps");
	fds = count_fds();
	for (uint64_t i = 1; i < N / 2; i++) {
		map1(s, 2 * i, 1, RW, file_mem(fd, i * 12345 % (1 << 24), 1));
		map1(s, 2 * i + 1, 1, RW, process_mem(self, anon, 1));
	}
	assert_int_equal(count_fds(), fds);
	assert_in_range(count_lines("/proc/self/maps"), 0, vmas + VMA_SLACK);
	iommu_unmap(s, 0, UINT64_MAX, &count);
	assert_int_equal(count, N);
	assert_int_equal(count_fds(), fds - 1); /* the process's is closed with its last mapping */
	assert_in_range(count_lines("/proc/self/maps"), 0, vmas + VMA_SLACK);

	/* A file that grows keeps its addresses. */
	struct uvfio_dma_pin a, b;
	struct iovec ia, ib;

	assert_int_equal(ftruncate(fd, P), 0);
	map1(s, 0, 1, RW, file_mem(fd, 0, 1));
	assert_int_equal(iommu_pin(s, NULL, 0, P, true, &ia, 1, &a, NULL), 1);
	for (uint64_t i = 1; i < 200; i++) {
		assert_int_equal(ftruncate(fd, (off_t)(i * 16 * P)), 0);
		map1(s, i, 1, RW, file_mem(fd, i * 16 - 1, 1));
	}
	assert_int_equal(iommu_pin(s, NULL, 0, P, true, &ib, 1, &b, NULL), 1);
	assert_ptr_equal(ia.iov_base, ib.iov_base);
	assert_in_range(count_lines("/proc/self/maps"), 0, vmas + VMA_SLACK);
	iommu_unpin(&a);
	iommu_unpin(&b);
	iommu_unmap(s, 0, UINT64_MAX, &count);

	/* Address spaces, files and windows are limited. */
	for (uint64_t i = 0; i < IOMMU_MAX_PROCESSES; i++) {
		mem = process_mem(self, anon, 1);
		mem.file_id[0] = 1000 + i;
		map1(s, i, 1, RW, mem);
	}
	mem.file_id[0]++;
	assert_int_equal(iommu_map(s, P << 20, P, RW, &mem, 1), -ENOMEM);
	iommu_unmap(s, 0, UINT64_MAX, &count);
	assert_int_equal(ftruncate(fd, 1ll << 61), 0);
	ret = 0;
	for (uint64_t i = 0; i < 100 && !ret; i++) {
		mem = file_mem(fd, i << 34, 1);
		ret = iommu_map(s, i * P, P, RW, &mem, 1);
	}
	assert_int_equal(ret, -ENOMEM);
	assert_true(s->files->reserved <= FILES_MAX_RESERVED);
	assert_true(iommu_mapping_count(s) <= FILES_MAX_WINDOWS);
	assert_in_range(count_lines("/proc/self/maps"), 0,
			vmas + 2 * FILES_MAX_WINDOWS + VMA_SLACK);
	iommu_space_free(s);
	munmap(anon, P);
	close(self);
	close(fd);
}

/* The promise of space.h about memory, against patterns that are bad for the structures. */
static void memory_is_bounded(void **state)
{
	enum { N = 65535 };
	struct iommu_space *s = iommu_space_new(N);
	uint64_t count, limit = (uint64_t)N * IOMMU_BYTES_PER_MAPPING + IOMMU_BYTES_FIXED;
	int fd = numbered_file(64);
	struct iommu_mem two[2] = {file_mem(fd, 2, 1), file_mem(fd, 9, 1)};
	int ret = 0;

	for (unsigned round = 0; round < 6; round++) {
		/* Spread over the whole space, then thin out what was mapped, three of four. */
		for (uint64_t i = 0; iommu_mapping_count(s) < N; i++) {
			struct iommu_mem mem = file_mem(fd, i % 64, 1);
			uint64_t page =
				(i * 0x9E3779B97F4A7C15ull + round) >> (round % 2 ? 28 : 44);

			ret = iommu_map(s, page * P, P, RW, &mem, 1);
			assert_true(!ret || ret == -EEXIST);
		}
		assert_true(space_bytes(s) <= limit);
		for (uint64_t slice = 0; slice < 1u << 12; slice++)
			if (slice % 4)
				iommu_unmap(s, slice << 36, ((slice + 1) << 36) - 1, &count);
		assert_true(space_bytes(s) <= limit);
	}
	iommu_unmap(s, 0, UINT64_MAX, &count);
	/* Pieces. */
	for (uint64_t i = 0; i < N; i++) {
		ret = iommu_map(s, 2 * i * P, 2 * P, RW, two, 2);
		if (ret)
			break;
	}
	assert_int_equal(ret, -ENOMEM);
	assert_true(iommu_mapping_count(s) >= N / 2);
	assert_true(space_bytes(s) <= limit);
	iommu_space_free(s);
	close(fd);
}

/* The largest mappings there are cost what small ones cost. */
static void huge_mapping(void **state)
{
	struct iommu_space *s = iommu_space_new(4);
	int self = open("/proc/self/mem", O_RDWR);
	struct iommu_mem mem = {IOMMU_MEM_PROCESS, self, 0, 1ull << 48, {2, 2}, P};
	uint64_t v = 4711, got = 0, count, first, size;

	assert_int_equal(iommu_map(s, 0, 1ull << 48, RW, &mem, 1), 0);
	assert_true(space_bytes(s) < 1 << 20);
	assert_int_equal(iommu_copy(s, NULL, (uintptr_t)&v, &got, 8, false, NULL), 0);
	assert_int_equal(got, 4711);
	assert_true(iommu_find(s, 1ull << 47, UINT64_MAX, &first, &size));
	assert_int_equal(first, 0);
	assert_int_equal(size, 1ull << 48);
	assert_int_equal(iommu_unmap(s, 0, (1ull << 48) - P, &count), 0);
	assert_int_equal(iommu_unmap(s, 0, UINT64_MAX, &count), 1ull << 48);
	assert_int_equal(count, 1);
	iommu_space_free(s);
	close(self);
}

/* ---- against a page array ---- */

static void model(void **state)
{
	enum { PAGES = 600, FILE_PAGES = 512 };
	static struct {
		uint64_t first, pages, file_page;
		unsigned prot;
	} of[PAGES];
	struct iommu_space *s = iommu_space_new(300);
	struct iommu_cache cache = {0};
	uint64_t base = (1ull << 30) - PAGES / 2; /* across the border of two trees */
	int fd = numbered_file(FILE_PAGES);

	memset(of, 0, sizeof(of));
	for (unsigned op = 0; op < 60000; op++) {
		uint64_t at = rnd(PAGES), len = 1 + rnd(rnd(4) ? 6 : 40), fp, bytes = 0, count;
		unsigned what = (unsigned)rnd(10);

		if (at + len > PAGES)
			len = PAGES - at;
		if (what < 3) {
			unsigned prot = 1 + (unsigned)rnd(3);
			bool taken = false;
			struct iommu_mem mem;
			int ret;

			fp = rnd(FILE_PAGES - len);
			mem = file_mem(fd, fp, len);
			for (uint64_t i = at; i < at + len; i++)
				taken |= of[i].pages != 0;
			ret = iommu_map(s, (base + at) * P, len * P, prot, &mem, 1);
			if (taken)
				assert_int_equal(ret, -EEXIST);
			else if (ret)
				assert_int_equal(ret, -ENOMEM);
			for (uint64_t i = at; !ret && i < at + len; i++) {
				of[i].first = at;
				of[i].pages = len;
				of[i].file_page = fp;
				of[i].prot = prot;
			}
		} else if (what < 5) {
			uint64_t want = 0, n = 0;

			for (uint64_t i = at; i < at + len; i++) {
				uint64_t k = of[i].pages;

				if (!k || of[i].first != i || i + k > at + len)
					continue;
				want += k * P;
				n++;
				for (uint64_t j = i; j < i + k; j++)
					of[j].pages = 0;
			}
			bytes = iommu_unmap(s, (base + at) * P, (base + at + len) * P - 1, &count);
			assert_int_equal(bytes, want);
			assert_int_equal(count, n);
		} else {
			struct iommu_fault f;
			uint64_t buf[64 * 512], i;
			bool write = what == 9;
			int ret;

			if (write) { /* put back what is there: the page's number */
				for (i = 0; i < len; i++)
					for (unsigned j = 0; j < 512; j++)
						buf[i * 512 + j] = of[at + i].file_page + at + i -
								   of[at + i].first;
			}
			ret = iommu_copy(s, &cache, (base + at) * P, buf, len * P, write, &f);
			for (i = 0; i < len; i++) {
				unsigned need = write ? IOMMU_WRITE : IOMMU_READ;

				if (!of[at + i].pages || !(of[at + i].prot & need))
					break;
				if (!write)
					assert_int_equal(buf[i * 512 + 511],
							 of[at + i].file_page + at + i -
								 of[at + i].first);
			}
			assert_int_equal(ret, i == len ? 0 : -EFAULT);
			if (ret) {
				assert_int_equal(f.iova, (base + at + i) * P);
				assert_int_equal(f.len, (len - i) * P);
				assert_int_equal(f.reason, of[at + i].pages ? IOMMU_FAULT_PERMISSION
									    : IOMMU_FAULT_UNMAPPED);
			}
		}
	}
	iommu_space_free(s);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies),
		cmocka_unit_test(cache_is_not_believed), cmocka_unit_test(refusals),
		cmocka_unit_test(interrupt_window),
		cmocka_unit_test(memory_that_goes),
		cmocka_unit_test(pieces_and_pins),
		cmocka_unit_test(unmap_waits_for_its_own),
		cmocka_unit_test(drain_waits_for_earlier_ones),
		cmocka_unit_test(vmas_and_fds),
		cmocka_unit_test(memory_is_bounded),
		cmocka_unit_test(huge_mapping),
		cmocka_unit_test(model),
	};

	if (uvfio_guard_init() || sigaction(SIGBUS, NULL, &guard_action))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
