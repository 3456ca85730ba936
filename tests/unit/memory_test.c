/* SPDX-License-Identifier: BSD-3-Clause */
/* src/uapi/memory.c and vma.c: which memory of a process is what for DMA, kind by kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "uapi/memory.h"
#include "uapi/vma.h"

#define PAGE 4096ul
#define HUGE (2ul << 20)
#define RW   (PROT_READ | PROT_WRITE)
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

/* ---- kinds: two pages of each, NULL when this machine has none ---- */

static char *map(size_t len, int prot, int flags, int fd)
{
	char *p = mmap(NULL, len, prot, flags, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static char *file(const char *template, int prot, int flags)
{
	char path[64];
	char *p;
	int fd;

	snprintf(path, sizeof(path), "%s", template);
	fd = mkstemp(path);
	if (fd < 0 || unlink(path) || ftruncate(fd, 2 * PAGE))
		return NULL;
	p = map(2 * PAGE, prot, flags, fd);
	close(fd);
	return p;
}

static char *memfd(int prot, int flags, unsigned how, size_t size)
{
	int fd = memfd_create("memory", MFD_CLOEXEC | how);
	char *p = NULL;

	if (fd >= 0 && !ftruncate(fd, (off_t)size))
		p = map(size, prot, flags, fd);
	close(fd);
	return p;
}

static char *anonymous(void)
{
	return map(2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static char *anonymous_read_only(void)
{
	return map(2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static char *anonymous_none(void)
{
	return map(2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static char *shared_anonymous(void)
{
	return map(2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1);
}

static char *memfd_shared(void)
{
	return memfd(RW, MAP_SHARED, 0, 2 * PAGE);
}

static char *memfd_read_only(void)
{
	return memfd(PROT_READ, MAP_SHARED, 0, 2 * PAGE);
}

static char *memfd_private(void)
{
	return memfd(RW, MAP_PRIVATE, 0, 2 * PAGE);
}

static char *system_v(void)
{
	int id = shmget(IPC_PRIVATE, 2 * PAGE, 0600);
	void *p = id < 0 ? NULL : shmat(id, NULL, 0);

	if (id >= 0)
		shmctl(id, IPC_RMID, NULL);
	return p == (void *)-1 ? NULL : p;
}

static char *shm_file(void)
{
	return file("/dev/shm/uvfio-memory.XXXXXX", RW, MAP_SHARED);
}

static char *huge_memfd(void)
{
	return memfd(RW, MAP_SHARED, MFD_HUGETLB, HUGE);
}

static char *huge_anonymous(void)
{
	return map(HUGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
}

static char *huge_shared(void)
{
	return map(HUGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1);
}

/* On whatever the test's own file is on. */
static char *own_program(void)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char *p = map(2 * PAGE, PROT_READ, MAP_PRIVATE, fd);

	close(fd);
	return p;
}

static char *own_program_shared(void)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char *p = map(2 * PAGE, PROT_READ, MAP_SHARED, fd);

	close(fd);
	return p;
}

static char *secret(void)
{
	int fd = (int)syscall(SYS_memfd_secret, 0);
	char *p = NULL;

	if (fd >= 0 && !ftruncate(fd, 2 * PAGE))
		p = map(2 * PAGE, RW, MAP_SHARED, fd);
	if (fd >= 0)
		close(fd);
	if (p)
		*p = 1;
	return p;
}

static char *named(const char *name)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long start = 0;
	char line[512];

	assert_non_null(maps);
	while (!start && fgets(line, sizeof(line), maps))
		if (strstr(line, name))
			start = strtoul(line, NULL, 16);
	fclose(maps);
	return (char *)start;
}

static char *vdso(void)
{
	return named("[vdso]");
}

static char *vvar(void)
{
	return named("[vvar]");
}

/* Pages that a driver has put there, from Linux 6.16 on without a way to pin them. */
static char *driver_pages(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_DUMMY,
		.exclude_kernel = 1,
	};
	int fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	char *p = fd < 0 ? NULL : map(2 * PAGE, RW, MAP_SHARED, fd);

	if (fd >= 0)
		close(fd);
	return p;
}

struct want {
	int ret;
	enum iommu_mem_kind kind;
	bool may_block;
};
#define REFUSED                                                                                    \
	{                                                                                          \
		-EFAULT, 0, false                                                                  \
	}
#define FILE_PIECE                                                                                 \
	{                                                                                          \
		0, IOMMU_MEM_FILE, false                                                           \
	}
#define PROCESS_PIECE                                                                              \
	{                                                                                          \
		0, IOMMU_MEM_PROCESS, false                                                        \
	}
#define MAY_BLOCK                                                                                  \
	{                                                                                          \
		0, IOMMU_MEM_PROCESS, true                                                         \
	}

static const struct row {
	const char *name;
	char *(*make)(void);
	struct want read, write;
} rows[] = {
	{"anonymous", anonymous, PROCESS_PIECE, PROCESS_PIECE},
	{"anonymous, read-only", anonymous_read_only, PROCESS_PIECE, REFUSED},
	{"anonymous, no access", anonymous_none, REFUSED, REFUSED},
	{"shared anonymous", shared_anonymous, FILE_PIECE, FILE_PIECE},
	{"memfd", memfd_shared, FILE_PIECE, FILE_PIECE},
	{"memfd, read-only", memfd_read_only, FILE_PIECE, REFUSED},
	{"memfd, private", memfd_private, MAY_BLOCK, MAY_BLOCK},
	{"System V", system_v, FILE_PIECE, FILE_PIECE},
	{"shm file", shm_file, FILE_PIECE, FILE_PIECE},
	{"hugetlb memfd", huge_memfd, FILE_PIECE, FILE_PIECE},
	{"hugetlb", huge_anonymous, MAY_BLOCK, MAY_BLOCK},
	{"hugetlb, shared", huge_shared, FILE_PIECE, FILE_PIECE},
	{"program", own_program, MAY_BLOCK, REFUSED},
	{"program, shared", own_program_shared, MAY_BLOCK, REFUSED},
	{"secret", secret, REFUSED, REFUSED},
	{"vdso", vdso, PROCESS_PIECE, REFUSED},
	{"vvar", vvar, REFUSED, REFUSED},
	{"a driver's pages", driver_pages, REFUSED, REFUSED},
};

/* Links of map_files take CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE. */
static bool is_privileged(void)
{
	const char *p = memfd_shared();
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)p,
		 (unsigned long)p + 2 * PAGE);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void check(const struct row *row, struct memory_cache *cache, const char *p, bool write)
{
	const struct want *want = write ? &row->write : &row->read;
	struct iommu_mem *mem = NULL;
	unsigned nr = 0;
	int ret = memory_import(cache, (pid_t)syscall(SYS_gettid), (uintptr_t)p, PAGE,
				write ? IOMMU_WRITE : IOMMU_READ, 0, &mem, &nr);
	bool wrong = ret != want->ret;

	if (!ret && !wrong)
		wrong = nr != 1 || mem->kind != want->kind || mem->may_block != want->may_block ||
			mem->unpinnable;
	if (wrong)
		fail_msg("%s, to be %s: %d, %u pieces, kind %d, may block %d", row->name,
			 write ? "written" : "read", ret, nr, nr ? (int)mem->kind : -1,
			 nr && mem->may_block);
	if (!ret)
		memory_release(mem, nr);
}

static void every_kind(void **state)
{
	struct memory_cache *cache;

	if (!is_privileged())
		skip(); /* shared memory without a descriptor is a process's then */
	cache = memory_cache_new(NULL);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *p = rows[i].make();

		if (!p) {
			print_message("%s: this machine has none\n", rows[i].name);
			continue;
		}
		check(&rows[i], cache, p, false);
		check(&rows[i], cache, p, true);
	}
	memory_cache_free(cache);
}

static int one(void *arg, const struct vma *vma)
{
	*(struct vma *)arg = *vma;
	return 0;
}

/* What smaps says, also of what lies behind others. */
static void unpinnable(void **state)
{
	static const struct {
		const char *name;
		char *(*make)(void);
		bool is;
	} kinds[] = {
		{"anonymous", anonymous, false}, {"memfd", memfd_private, false},
		{"secret", secret, true},        {"vvar", vvar, true},
		{"vdso", vdso, false},
	};
	int proc = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct vma vma;
	bool is;

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		uint64_t p = (uintptr_t)kinds[i].make();

		if (!p)
			continue;
		assert_int_equal(vma_walk(proc, -1, p, p + PAGE, one, &vma), 0);
		assert_int_equal(vma_unpinnable(proc, &vma, &is), 0);
		if (is != kinds[i].is)
			fail_msg("%s can%s be pinned", kinds[i].name, is ? "not" : "");
		assert_int_equal(vma.kernels, !strcmp(kinds[i].name, "vvar"));
	}
	/* What is not mapped. */
	vma.start = vma.end = PAGE;
	assert_int_equal(vma_unpinnable(proc, &vma, &is), -EFAULT);
	close(proc);
}

/* Neighbours of one file are one piece, others are not, and a hole is an error. */
static void pieces(void **state)
{
	struct memory_cache *cache = memory_cache_new(NULL);
	const pid_t tid = (pid_t)syscall(SYS_gettid);
	int fd = memfd_create("memory", MFD_CLOEXEC);
	char *p = map(8 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct iommu_mem *mem;
	unsigned nr;

	assert_int_equal(ftruncate(fd, 4 * PAGE), 0);
	assert_non_null(p);
	/* anonymous, two of the file in order with different rights, one out of order. */
	assert_ptr_not_equal(mmap(p + 2 * PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0),
			     MAP_FAILED);
	assert_ptr_not_equal(
		mmap(p + 3 * PAGE, PAGE, RW | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, PAGE),
		MAP_FAILED);
	assert_ptr_not_equal(mmap(p + 4 * PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 3 * PAGE),
			     MAP_FAILED);
	assert_int_equal(
		memory_import(cache, tid, (uintptr_t)p, 8 * PAGE, IOMMU_WRITE, 0, &mem, &nr), 0);
	assert_int_equal(nr, 4);
	assert_int_equal(mem[0].len, 2 * PAGE);
	assert_int_equal(mem[1].len, 2 * PAGE);
	assert_int_equal(mem[1].offset, 0);
	assert_int_equal(mem[2].offset, 3 * PAGE);
	assert_int_equal(mem[3].len, 3 * PAGE);
	memory_release(mem, nr);

	munmap(p + 5 * PAGE, PAGE);
	assert_int_equal(
		memory_import(cache, tid, (uintptr_t)p, 8 * PAGE, IOMMU_WRITE, 0, &mem, &nr),
		-EFAULT);
	assert_int_equal(
		memory_import(cache, tid, (uintptr_t)p, 5 * PAGE, IOMMU_WRITE, 0, &mem, &nr), 0);
	memory_release(mem, nr);
	close(fd);
	memory_cache_free(cache);
}

/* ---- exec ---- */

/* Where the stack of @pid is now, from the text. */
static uint64_t stack_of(pid_t pid)
{
	unsigned long start = 0;
	char path[32], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (strstr(line, "[stack]"))
			sscanf(line, "%lx-", &start);
	fclose(f);
	assert_true(start);
	return start;
}

/* What is imported of a program that has exec'ed is the new one's, and counts as another's. */
static void exec(void **state)
{
	struct memory_cache *cache = memory_cache_new(NULL);
	char *p = anonymous(), byte;
	struct iommu_mem *mem;
	uint64_t before, stack;
	int go[2], gone[2];
	unsigned nr;
	pid_t pid;

	assert_int_equal(pipe(go) | pipe2(gone, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		if (read(go[0], &byte, 1) == 1)
			execlp("sleep", "sleep", "1000", NULL);
		_exit(1);
	}
	close(gone[1]);
	for (unsigned i = 0; i < 2; i++) { /* the second time from the cache */
		assert_int_equal(
			memory_import(cache, pid, (uintptr_t)p, PAGE, IOMMU_READ, 0, &mem, &nr), 0);
		assert_int_equal(nr, 1);
		assert_true(!i || mem[0].file_id[0] == before);
		before = mem[0].file_id[0];
		memory_release(mem, nr);
	}
	assert_int_equal(write(go[1], "", 1), 1);
	assert_int_equal(read(gone[0], &byte, 1), 0);
	stack = stack_of(pid);
	assert_int_equal(memory_import(cache, pid, stack, PAGE, IOMMU_READ, 0, &mem, &nr), 0);
	assert_int_equal(nr, 1);
	assert_true(mem[0].file_id[0] != before);
	assert_int_equal(pread(mem[0].fd, &byte, 1, (off_t)stack), 1);
	memory_release(mem, nr);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(go[0]);
	close(go[1]);
	close(gone[0]);
	memory_cache_free(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind),
		cmocka_unit_test(unpinnable),
		cmocka_unit_test(pieces),
		cmocka_unit_test(exec),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
