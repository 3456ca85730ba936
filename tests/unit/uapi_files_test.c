/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * src/uapi/files.c, closing.c and bar_memory.c: a device's node that is closed while an import of
 * memory looks at it, or a call of the dead has a copy of its descriptor.  The program is this
 * process; the core is one that does as it is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "iommu/type1.h"
#include "uapi/files_private.h"
#include "uapi/memory.h"

#define PAGE  4096ul
#define GROUP 7u
#define CDEV  3u

static const struct uapi_device the_device = {.name = "0000:01:00.0", .group = GROUP, .cdev = CDEV};

struct core_device {
	int view;
};

struct fake {
	struct uapi_core core; /* first */
	struct uapi_server server;
	struct uapi_config config;
	char dir[32];
	atomic_uint opened, released;
	atomic_bool holds; /* whoever looks at a BAR is held, */
	sem_t held, go_on; /* which is said, until it is told */
};

static int cdev_open(struct uapi_core *core, unsigned number, struct core_device **out,
		     const struct uapi_device **which)
{
	struct fake *f = (struct fake *)core;

	assert_int_equal(number, CDEV);
	*out = malloc(sizeof(**out));
	assert_non_null(*out);
	(*out)->view = memfd_create("view", MFD_CLOEXEC);
	assert_int_equal(ftruncate((*out)->view, PAGE), 0);
	*which = &the_device;
	atomic_fetch_add(&f->opened, 1);
	return 0;
}

static void device_release(struct uapi_core *core, struct core_device *df)
{
	struct fake *f = (struct fake *)core;

	close(df->view);
	free(df);
	atomic_fetch_add(&f->released, 1);
}

static int device_set_mmio(struct uapi_core *core, struct core_device *df, enum vfio_mmio_mode mode)
{
	return 0;
}

static int device_view_fd(struct uapi_core *core, struct core_device *df)
{
	return df->view;
}

static int device_memory(struct uapi_core *core, struct core_device *df, uint64_t offset,
			 uint64_t len, struct iommu_mem *out)
{
	struct fake *f = (struct fake *)core;

	if (atomic_load(&f->holds)) {
		sem_post(&f->held);
		sem_wait(&f->go_on);
	}
	return -EFAULT;
}

static const struct uapi_core_ops fake_ops = {
	.cdev_open = cdev_open,
	.device_release = device_release,
	.device_set_mmio = device_set_mmio,
	.device_view_fd = device_view_fd,
	.device_memory = device_memory,
};

static void make(const char *dir, const char *name)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void fake_open(struct fake *f)
{
	char path[64];
	struct uvfio_error err = {""};

	memset(f, 0, sizeof(*f));
	sem_init(&f->held, 0, 0);
	sem_init(&f->go_on, 0, 0);
	strcpy(f->dir, "/tmp/uvfio-files-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	make(f->dir, "iommu");
	snprintf(path, sizeof(path), "%s/vfio", f->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	make(path, "vfio");
	f->core.ops = &fake_ops;
	f->config.mmio = VFIO_MMIO_POLLED;
	f->server.core = &f->core;
	f->server.config = &f->config;
	f->server.listener = f->server.devdir = f->server.iommudir = -1;
	f->server.nodes = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->server.nodes >= 0);
	f->server.files = uapi_files_new(&f->server, &err);
	assert_non_null(f->server.files);
	f->server.memory = uapi_memory_cache(&f->server);
	assert_non_null(f->server.memory);
}

static void fake_close(struct fake *f)
{
	static const char *const names[] = {"vfio/vfio", "iommu"};
	char path[80];

	memory_cache_free(f->server.memory);
	uapi_files_free(f->server.files);
	assert_int_equal(atomic_load(&f->opened), atomic_load(&f->released));
	close(f->server.nodes);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", f->dir, names[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/vfio", f->dir);
	rmdir(path);
	rmdir(f->dir);
	sem_destroy(&f->go_on);
	sem_destroy(&f->held);
}

static int open_node(struct fake *f)
{
	int fd = uapi_files_open_node(f->server.files, UAPI_CDEV, CDEV, O_RDWR, getpid(), 1);

	assert_true(fd >= 0);
	return fd;
}

/* A device is mapped, and an import of the page looks at it until it is told to go on. */
struct look {
	struct fake *f;
	int fd;
	void *page;
	pthread_t thread;
};

static void *look_main(void *arg)
{
	struct look *l = arg;
	struct iommu_mem *mem;
	unsigned nr;

	assert_int_equal(memory_import(l->f->server.memory, getpid(), (uintptr_t)l->page, PAGE,
				       IOMMU_READ, 0, &mem, &nr),
			 -EFAULT);
	return NULL;
}

static void look_begin(struct look *l, struct fake *f)
{
	l->f = f;
	l->fd = open_node(f);
	l->page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, l->fd, 0);
	assert_ptr_not_equal(l->page, MAP_FAILED);
	atomic_store(&f->holds, true);
	assert_int_equal(pthread_create(&l->thread, NULL, look_main, l), 0);
	sem_wait(&f->held);
	/* The program closes it. */
	munmap(l->page, PAGE);
	close(l->fd);
}

static void look_end(struct look *l)
{
	sem_post(&l->f->go_on);
	pthread_join(l->thread, NULL);
}

/* ---- who opens it anew ---- */

struct opener {
	struct fake *f;
	atomic_int tid;
	atomic_bool done;
	unsigned released; /* when it went on */
	pthread_t thread;
};

static void *opener_main(void *arg)
{
	struct opener *o = arg;

	atomic_store(&o->tid, (int)gettid());
	uapi_files_settle(o->f->server.files, GROUP, 0);
	o->released = atomic_load(&o->f->released);
	atomic_store(&o->done, true);
	return NULL;
}

static bool sleeps_in(int tid, long nr)
{
	char path[48];
	long is = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	file = fopen(path, "r");
	if (file && fscanf(file, "%ld", &is) != 1)
		is = -1;
	if (file)
		fclose(file);
	return is == nr;
}

/* Begin, until it waits, or has nothing to wait for. */
static void opener_begin(struct opener *o, struct fake *f)
{
	o->f = f;
	atomic_init(&o->tid, 0);
	atomic_init(&o->done, false);
	assert_int_equal(pthread_create(&o->thread, NULL, opener_main, o), 0);
	while (!atomic_load(&o->done) &&
	       !(atomic_load(&o->tid) && sleeps_in(atomic_load(&o->tid), SYS_futex)))
		sched_yield();
}

/* It is released when BIND goes on, though somebody was looking at it when it was closed. */
static void test_waits(void **state)
{
	struct opener opener;
	struct look look;
	struct fake f;

	fake_open(&f);
	f.server.files->look_seconds = 3600; /* however long this machine keeps them waiting */
	for (unsigned i = 0; i < 20; i++) {
		look_begin(&look, &f);
		opener_begin(&opener, &f);
		look_end(&look);
		pthread_join(opener.thread, NULL);
		assert_int_equal(opener.released, i + 1);
	}
	fake_close(&f);
}

/* One who never stops looking holds up BIND for a while, and nobody else at all. */
static void test_stalled(void **state)
{
	struct opener opener;
	struct look look;
	struct fake f;

	fake_open(&f);
	look_begin(&look, &f);
	opener_begin(&opener, &f);
	atomic_store(&f.holds, false);
	for (unsigned i = 0; i < 20; i++) {
		unsigned released = atomic_load(&f.released);

		close(open_node(&f));
		uapi_files_settle(f.server.files, GROUP + 1, 0);
		uapi_files_settle_own(f.server.files, getpid());
		assert_int_equal(atomic_load(&f.released), released + 1);
	}
	pthread_join(opener.thread, NULL);
	assert_int_equal(atomic_load(&f.opened), atomic_load(&f.released) + 1);
	look_end(&look);
	uapi_files_settle(f.server.files, GROUP, 0);
	assert_int_equal(atomic_load(&f.opened), atomic_load(&f.released));
	fake_close(&f);
}

/* A call whose process is dead has a copy of the last descriptor. */
static void test_copy(void **state)
{
	const uint64_t dead = 99; /* as all but 0 are: there is no listener */
	struct uapi_copy taken;
	struct opener opener;
	struct fake f;
	int fd, copy;

	fake_open(&f);
	for (unsigned i = 0; i < 20; i++) {
		fd = open_node(&f);
		uapi_files_copy_begin(f.server.files, &taken, dead);
		copy = dup(fd);
		assert_true(copy >= 0);
		close(fd);
		opener_begin(&opener, &f);
		assert_int_equal(atomic_load(&f.released), i);
		close(copy);
		uapi_files_copy_end(f.server.files, &taken);
		pthread_join(opener.thread, NULL);
		assert_int_equal(opener.released, i + 1);
	}
	fake_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_stalled),
		cmocka_unit_test(test_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
