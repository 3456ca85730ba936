/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory_client.h: memory of a process that forks, ends, or becomes another program; and a program
 * that executes itself anew and keeps its devices, as a VMM does that is updated.
 */
#include <signal.h>
#include "memory_client.h"

static char *anonymous(size_t len)
{
	char *p = mmap(NULL, len, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	NEED(p != MAP_FAILED);
	memset(p, 0, len);
	return p;
}

static int memfd(size_t len)
{
	int fd = memfd_create("memory", 0); /* stays open at exec */

	NEED(fd >= 0 && !ftruncate(fd, (off_t)len));
	return fd;
}

static char *shared(int fd, size_t len)
{
	char *p = mmap(NULL, len, RW, MAP_SHARED, fd, 0);

	NEED(p != MAP_FAILED);
	return p;
}

/* A child that writes to its copy of the parent's memory changes nothing for the device. */
static void child_writes(void)
{
	char *p = anonymous(2 * PAGE);
	int status;
	pid_t pid;

	doing = "a forked child writes";
	*(volatile uint64_t *)p = 1;
	NEED(dma_map(IOVA, p, 2 * PAGE, DMA_READ | DMA_WRITE) == 0);
	pid = fork();
	NEED(pid >= 0);
	if (!pid) {
		uint64_t got = 0;

		*(volatile uint64_t *)p = 2;
		CHECK(dma_get(IOVA, &got) == 0 && got == 1);
		CHECK(dma_put(IOVA, 3) == 0 && *(volatile uint64_t *)p == 2);
		_exit(failures != 0);
	}
	NEED(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	CHECK(!WEXITSTATUS(status));
	CHECK(*(volatile uint64_t *)p == 3);
	check_both_ways(IOVA, (uint64_t *)p);
	CHECK(dma_unmap(IOVA, 2 * PAGE) == 0);

	/* And when the parent writes first. */
	doing = "the parent of a child writes";
	NEED(dma_map(IOVA, p, 2 * PAGE, DMA_READ | DMA_WRITE) == 0);
	pid = fork();
	NEED(pid >= 0);
	if (!pid) {
		pause();
		_exit(0);
	}
	check_both_ways(IOVA, (uint64_t *)p);
	kill(pid, SIGKILL);
	NEED(waitpid(pid, &status, 0) == pid);
	check_both_ways(IOVA, (uint64_t *)p);
	CHECK(dma_unmap(IOVA, 2 * PAGE) == 0);
}

enum { PRIVATE = 0, FILE_ = 0x100000 };

/* Maps its own memory, says so, and then waits or becomes another program. */
static pid_t child_maps(int fd, bool execs, int *alive)
{
	int go[2], hold[2];
	pid_t pid;
	char c;

	NEED(!pipe(go) && !pipe2(hold, O_CLOEXEC));
	pid = fork();
	NEED(pid >= 0);
	if (!pid) {
		char *p = anonymous(PAGE);

		close(hold[0]);
		NEED(dma_map(IOVA + PRIVATE, p, PAGE, DMA_READ | DMA_WRITE) == 0);
		NEED(dma_map(IOVA + FILE_, shared(fd, PAGE), PAGE, DMA_READ | DMA_WRITE) == 0);
		check_both_ways(IOVA + PRIVATE, (uint64_t *)p);
		NEED(write(go[1], &c, 1) == 1);
		/* Both ends of the pipe close at exec, which is how the parent sees it. */
		if (execs)
			execlp("sleep", "sleep", "1000", NULL);
		for (;;)
			pause();
	}
	NEED(read(go[0], &c, 1) == 1);
	close(go[0]);
	close(go[1]);
	close(hold[1]);
	*alive = hold[0];
	return pid;
}

static void child_goes(bool execs)
{
	int fd = memfd(PAGE), alive, status;
	char *q = shared(fd, PAGE), c;
	pid_t pid = child_maps(fd, execs, &alive);

	doing = execs ? "memory of a process that executes another program"
		      : "memory of a process that ends";
	check_both_ways(IOVA + FILE_, (uint64_t *)q);
	if (!execs)
		kill(pid, SIGKILL);
	CHECK(read(alive, &c, 1) == 0);
	close(alive);
	if (!execs)
		NEED(waitpid(pid, &status, 0) == pid);
	check_neither(IOVA + PRIVATE, EIO);
	check_both_ways(IOVA + FILE_, (uint64_t *)q);
	/* It is mapped all the same. */
	CHECK(dma_map(IOVA + PRIVATE, q, PAGE, DMA_READ) == -EEXIST);
	CHECK(dma_unmap(IOVA + PRIVATE, PAGE) == 0);
	CHECK(dma_unmap(IOVA + FILE_, PAGE) == 0);
	if (execs) {
		kill(pid, SIGKILL);
		NEED(waitpid(pid, &status, 0) == pid);
	}
	munmap(q, PAGE);
	close(fd);
}

void other_processes(void)
{
	child_writes();
	child_goes(false);
	child_goes(true);
}

/* ---- exec: what is kept, and what gets new addresses ---- */

static void keep(int fd)
{
	NEED(fcntl(fd, F_SETFD, 0) == 0);
}

/*
 * Maps memory of a file and private memory, and a BAR; makes the addresses invalid and executes
 * itself.
 */
void reexec(char **argv)
{
	int fd = memfd(4 * PAGE);
	char *p = shared(fd, 4 * PAGE), *own = anonymous(2 * PAGE), text[200];
	char *args[] = {argv[0], "after-exec", text, NULL};
	volatile uint32_t *bar =
		mmap(NULL, PAGE, RW, MAP_SHARED, devices[1].fd, (off_t)devices[1].bar[2]);

	doing = "before exec";
	NEED(ioctl(container, VFIO_CHECK_EXTENSION, VFIO_UPDATE_VADDR) == 1);
	NEED(dma_map(IOVA, p, 4 * PAGE, DMA_READ | DMA_WRITE) == 0);
	NEED(dma_map(IOVA + HUGE, own, 2 * PAGE, DMA_READ | DMA_WRITE) == 0);
	NEED(dma_map(IOVA + 2 * HUGE, own, PAGE, DMA_READ | DMA_WRITE) == 0);
	if (bar != MAP_FAILED)
		NEED(dma_map(IOVA + 4 * HUGE, (void *)bar, PAGE, DMA_READ | DMA_WRITE) == 0);
	check_both_ways(IOVA, (uint64_t *)p);
	*(uint64_t *)p = 0x1234;
	write_register(&devices[0], SCRATCH, 0x5678, 8);

	CHECK(vaddr_invalidate(IOVA, 4 * PAGE) == 0);
	CHECK(vaddr_invalidate(IOVA + HUGE, 2 * PAGE) == 0);
	CHECK(vaddr_invalidate(IOVA + HUGE, 2 * PAGE) == -EINVAL);
	/* The device goes on: what it reaches is the same memory. */
	check_both_ways(IOVA, (uint64_t *)p);
	*(uint64_t *)p = 0x1234;

	keep(container);
	for (unsigned i = 0; i < 2; i++) {
		keep(devices[i].group);
		keep(devices[i].fd);
	}
	snprintf(text, sizeof(text), "%d %d %d %d %d %d %d %d", container, devices[0].group,
		 devices[1].group, devices[0].fd, devices[1].fd, fd, bar != MAP_FAILED, failures);
	execv("/proc/self/exe", args);
	NEED(!"exec");
}

/* The new program finds its devices as they were, and says where its memory is now. */
void after_exec(char **argv)
{
	int memory = -1, had_bar = 0;
	uint64_t got = 0;
	char *p, *own;

	doing = "after exec";
	NEED(sscanf(argv[2], "%d %d %d %d %d %d %d %d", &container, &devices[0].group,
		    &devices[1].group, &devices[0].fd, &devices[1].fd, &memory, &had_bar,
		    &failures) == 8);
	look_at_devices();
	CHECK(read_register(&devices[0], SCRATCH, 8) == 0x5678);

	/* Before anything is said, too: memory of a file is there, what was private is not. */
	CHECK(dma_get(IOVA, &got) == 0 && got == 0x1234);
	check_neither(IOVA + HUGE, EIO);
	check_neither(IOVA + 2 * HUGE, EIO);

	/* Elsewhere than before. */
	anonymous(16 * PAGE);
	p = shared(memory, 4 * PAGE);
	own = anonymous(2 * PAGE);
	CHECK(vaddr_update(IOVA, p, 2 * PAGE) == -EINVAL);
	CHECK(vaddr_update(IOVA, p, 4 * PAGE) == 0);
	CHECK(vaddr_update(IOVA, p, 4 * PAGE) == -EINVAL);
	CHECK(vaddr_update(IOVA + HUGE, own, 2 * PAGE) == 0);
	CHECK(vaddr_update(IOVA + 3 * HUGE, own, PAGE) == -ENOENT);
	check_both_ways(IOVA, (uint64_t *)p);
	check_both_ways(IOVA + 3 * PAGE, (uint64_t *)(p + 3 * PAGE));
	check_both_ways(IOVA + HUGE, (uint64_t *)own);
	check_both_ways(IOVA + HUGE + PAGE, (uint64_t *)(own + PAGE));
	/* What got no new address is what it was: nobody's. */
	check_neither(IOVA + 2 * HUGE, EIO);
	CHECK(dma_unmap(IOVA + 2 * HUGE, PAGE) == 0);

	/* BARs belong to no process. */
	if (had_bar) {
		CHECK(dma_put(IOVA + 4 * HUGE, 0x42) == 0);
		CHECK(pread(devices[1].fd, &got, 8, (off_t)devices[1].bar[2]) == 8 && got == 0x42);
		CHECK(dma_unmap(IOVA + 4 * HUGE, PAGE) == 0);
	}

	/* They can be mapped again, by the new program, too. */
	volatile uint32_t *regs =
		mmap(NULL, PAGE, RW, MAP_SHARED, devices[0].fd, (off_t)devices[0].bar[0]);

	if (regs != MAP_FAILED) {
		CHECK(regs[SCRATCH / 4] == 0x5678);
		regs[SCRATCH / 4] = 0x9abc;
		while (read_register(&devices[0], SCRATCH, 4) != 0x9abc)
			; /* in polled mode it is found after a while */
	}
	CHECK(dma_unmap(IOVA, 4 * PAGE) == 0);
	CHECK(dma_unmap(IOVA + HUGE, 2 * PAGE) == 0);
}
