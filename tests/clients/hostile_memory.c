/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An attack of hostile_client: a program that holds its own address space up.  One thread reads a
 * page of a file whose file system does not answer, in a way that keeps the mappings locked while
 * it waits; another waits to change them; so whoever wants the program's memory waits behind that.
 */
#include "hostile.h"
#include "unit/stalling_file.h"

static void *read_own_memory(void *arg)
{
	char byte;
	int fd = open("/proc/self/mem", O_RDONLY);

	NEED(fd >= 0);
	(void)!pread(fd, &byte, 1, (off_t)(uintptr_t)arg);
	return NULL;
}

static void *change_mappings(void *arg)
{
	mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	atomic_store((atomic_bool *)arg, true);
	return NULL;
}

/* Has the controller fetch a command from memory that nobody can have. */
static void *ring_doorbell(void *arg)
{
	write_register(arg, 0x1000, 1, 4);
	return NULL;
}

static void hold_up(struct stalling_file *file, atomic_bool *changed)
{
	/* What threads need, before nothing can be had any more. */
	static char stacks[3][65536] __attribute__((aligned(4096)));
	void *(*const fns[])(void *) = {read_own_memory, change_mappings, ring_doorbell};
	int fd = open(file->path, O_RDONLY);
	struct stat st;
	void *args[3] = {NULL};
	pthread_attr_t attr;
	pthread_t thread;
	struct device d;
	void *page;

	NEED(fd >= 0 && !fstat(fd, &st)); /* from here on its size is known */
	open_device(&d, 0);
	enable(&d);
	page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	NEED(page != MAP_FAILED);
	args[0] = page;
	args[1] = changed;
	args[2] = &d;
	for (unsigned i = 0; i < 3; i++) {
		memset(stacks[i], 1, sizeof(stacks[i]));
		NEED(!pthread_attr_init(&attr) &&
		     !pthread_attr_setstack(&attr, stacks[i], sizeof(stacks[i])));
		NEED(!pthread_create(&thread, &attr, fns[i], args[i]));
		if (!i)
			stalling_file_wait(file);
		/* So that they come in this order; another would only make it easier. */
		usleep(100000);
	}
	for (;;)
		pause();
}

/* Everything that another program does with the other device. */
static bool works(void *arg)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = IOVA, .size = 2 * PAGE};
	struct device d;

	alarm(SECONDS);
	for (unsigned i = 0; i < 3; i++) {
		open_device(&d, 1);
		enable(&d);
		CHECK(!ioctl(d.fd, VFIO_DEVICE_RESET));
		CHECK(!ioctl(d.container, VFIO_IOMMU_UNMAP_DMA, &unmap));
		close(d.fd);
		close(d.group);
		close(d.container);
	}
	return !failures;
}

static bool comes_back(void *arg)
{
	struct device d;
	int fd;

	alarm(SECONDS);
	while ((fd = open_group(0)) < 0) {
		NEED(errno == EBUSY);
		usleep(5000);
	}
	close(fd);
	open_device(&d, 0);
	enable(&d);
	return !failures;
}

void memory_held_up(void)
{
	struct stalling_file *file = geteuid() ? NULL : stalling_file_new(PAGE);
	atomic_bool *changed =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	NEED(changed != MAP_FAILED);
	if (!file) {
		printf("no FUSE file system\n");
		exit(77);
	}
	pid = fork();
	NEED(pid >= 0);
	if (!pid)
		hold_up(file, changed);
	stalling_file_wait(file);
	usleep(500000);
	CHECK(child(works, NULL));
	/* It is still held up. */
	CHECK(!atomic_load(changed));
	/* It dies, as soon as its file system lets it: everything is given back. */
	CHECK(!waitpid(pid, &status, WNOHANG) && !kill(pid, SIGKILL));
	CHECK(child(works, NULL));
	stalling_file_go(file);
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	CHECK(child(comes_back, NULL));
	CHECK(child(works, NULL));
	stalling_file_free(file);
}
