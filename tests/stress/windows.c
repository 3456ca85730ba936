/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory behind the windows: stress.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stress/stress.h"

enum kind {
	KIND_ANON,   /* private: known by its address */
	KIND_FILE,   /* private pages of a file on a disk: touching them may wait */
	KIND_SHARED, /* shared anonymous memory: known by its address */
	KIND_MEMFD,  /* a file of its own */
	KIND_SLICE,  /* a part of one that others have parts of, too */
	NR_KINDS
};

struct memory {
	enum kind kind;
	uint8_t *addr;
	int fd; /* that the server is given, or -1 */
	uint64_t offset;
	uint32_t mapped; /* bytes of it, when it is or was last mapped */
	unsigned prot;   /* UVFIO_PCI_DMA_… */
	bool was_cut;
};

static int temporary_file(void)
{
	char path[] = "/tmp/uvfio-stress.XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	if (fd >= 0)
		unlink(path);
	return fd;
}

static void *need(void *p)
{
	if (p == MAP_FAILED || !p) {
		perror("stress: memory");
		exit(2);
	}
	return p;
}

/* New memory at @m->addr, or anywhere when that is NULL. */
static void place(struct stress *s, struct memory *m, unsigned n)
{
	int flags = m->addr ? MAP_FIXED : 0, fd = -1;

	m->fd = -1;
	m->offset = 0;
	m->was_cut = false;
	switch (m->kind) {
	case KIND_ANON:
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
		break;
	case KIND_SHARED:
		flags |= MAP_SHARED | MAP_ANONYMOUS;
		break;
	case KIND_FILE:
		flags |= MAP_PRIVATE;
		fd = temporary_file();
		break;
	case KIND_MEMFD:
		flags |= MAP_SHARED;
		fd = m->fd = memfd_create("stress", MFD_CLOEXEC);
		break;
	default:
		flags |= MAP_SHARED;
		fd = m->fd = dup(s->slices);
		m->offset = (uint64_t)n * WINDOW_BYTES;
	}
	if (m->kind == KIND_FILE || m->kind == KIND_MEMFD) {
		if (fd < 0 || ftruncate(fd, WINDOW_BYTES)) {
			perror("stress: a file");
			exit(2);
		}
	}
	m->addr = need(
		mmap(m->addr, WINDOW_BYTES, PROT_READ | PROT_WRITE, flags, fd, (off_t)m->offset));
	if (m->kind == KIND_FILE)
		close(fd);
	memset(m->addr, BYTE_GONE, WINDOW_BYTES);
}

int windows_new(struct stress *s)
{
	s->slices = memfd_create("stress-slices", MFD_CLOEXEC);
	if (s->slices < 0 || ftruncate(s->slices, (off_t)2 * WINDOWS * WINDOW_BYTES))
		return -errno;
	for (unsigned w = 0; w < WINDOWS; w++) {
		s->windows[w].mapped = -1;
		for (unsigned i = 0; i < 2; i++) {
			struct memory *m = need(calloc(1, sizeof(*m)));

			/* Both of a window may be of one kind, or of two. */
			m->kind = (enum kind)((w / 2 + i * (w & 1)) % NR_KINDS);
			place(s, m, 2 * w + i);
			s->windows[w].memory[i] = m;
		}
	}
	return 0;
}

static uint64_t window_iova(unsigned w)
{
	return WINDOW_IOVA + (uint64_t)w * WINDOW_BYTES;
}

/* Nothing of [@from, WINDOW_BYTES) is mapped, and nobody may have touched it. */
static void check_gone(struct stress *s, unsigned w, const struct memory *m, size_t from)
{
	size_t len = WINDOW_BYTES - from, at = stress_other(m->addr + from, BYTE_GONE, len);

	s->checks++;
	if (at < len)
		stress_bad(s,
			   "window %u, memory of kind %d: byte %#zx is %#x after it was unmapped "
			   "(%u bytes had been mapped)",
			   w, m->kind, from + at, m->addr[from + at], m->mapped);
}

/* Take away what is behind an unmapped piece, and put other memory there. */
static void let_go(struct stress *s, unsigned w, unsigned i)
{
	struct memory *m = s->windows[w].memory[i];

	if (m->kind == KIND_SLICE)
		return;
	if (m->fd >= 0)
		close(m->fd);
	/* For a moment there is nothing; nobody else may get the address. */
	need(mmap(m->addr, WINDOW_BYTES, PROT_NONE,
		  MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	place(s, m, 2 * w + i);
	s->lets_go++;
}

/* The owner takes the pages of a file away while they are mapped, and gives others in their place:
 * a transfer meanwhile fails or goes to either. */
static void cut(struct stress *s, struct memory *m)
{
	if (m->kind != KIND_MEMFD || !s->cut)
		return;
	if (ftruncate(m->fd, 0) || ftruncate(m->fd, WINDOW_BYTES))
		stress_bad(s, "ftruncate: %s", strerror(errno));
	m->was_cut = true;
	s->cuts++;
}

static void map(struct mapper *mapper, unsigned w)
{
	static const unsigned prots[16] = {UVFIO_PCI_DMA_READ, UVFIO_PCI_DMA_WRITE};
	struct stress *s = mapper->stress;
	struct window *window = &s->windows[w];
	unsigned i = stress_below(&mapper->seed, 2);
	struct memory *m = window->memory[i];
	uint64_t iova = window_iova(w);
	struct uvfio_error err;
	int ret;

	check_gone(s, w, m, 0);
	if (!stress_below(&mapper->seed, 4))
		let_go(s, w, i);
	m->prot = prots[stress_below(&mapper->seed, 16)];
	if (!m->prot)
		m->prot = UVFIO_PCI_DMA_RW;
	m->mapped = WINDOW_BYTES;
	if (!stress_below(&mapper->seed, 4))
		m->mapped -= stress_below(&mapper->seed, WINDOW_BYTES / STRESS_PAGE) * STRESS_PAGE;
	if (m->prot & UVFIO_PCI_DMA_READ)
		memset(m->addr, BYTE_MAPPED, m->mapped);
	ret = uvfio_dma_space_map(s->space, m->addr, m->mapped, m->prot | UVFIO_PCI_DMA_FIXED,
				  m->fd, m->offset, &iova, &err);
	if (ret) {
		stress_bad(s, "mapping window %u, memory of kind %d: %s", w, m->kind, err.msg);
		memset(m->addr, BYTE_GONE, WINDOW_BYTES);
		return;
	}
	window->mapped = (int)i;
	s->maps++;
}

static void unmap(struct stress *s, unsigned w)
{
	struct window *window = &s->windows[w];
	struct memory *m = window->memory[window->mapped];
	int ret = uvfio_dma_space_unmap(s->space, window_iova(w), m->mapped);
	size_t at;

	if (ret) {
		stress_bad(s, "unmapping window %u: %s", w, strerror(-ret));
		return;
	}
	window->mapped = -1;
	if (!m->was_cut) { /* all of it was, not only what is mapped */
		check_gone(s, w, m, m->mapped);
		at = stress_other(m->addr, BYTE_MAPPED, m->mapped);
		if (m->prot == UVFIO_PCI_DMA_READ && at < m->mapped)
			stress_bad(s, "window %u, for reading only: byte %#zx is %#x", w, at,
				   m->addr[at]);
	}
	m->was_cut = false;
	memset(m->addr, BYTE_GONE, WINDOW_BYTES);
	s->unmaps++;
}

void *mapper_run(void *arg)
{
	struct mapper *mapper = arg;
	struct stress *s = mapper->stress;
	unsigned mine = (unsigned)(mapper - s->mappers);

	while (!s->stop) {
		unsigned w = stress_below(&mapper->seed, WINDOWS / MAPPERS) * MAPPERS + mine;
		struct window *window = &s->windows[w];
		unsigned what = stress_below(&mapper->seed, 32);

		/* Most are mapped most of the time, so that transfers are under way everywhere. */
		if (window->mapped < 0)
			map(mapper, w);
		else if (!what)
			cut(s, window->memory[window->mapped]);
		else if (what < 10)
			unmap(s, w);
	}
	return NULL;
}

void windows_end(struct stress *s)
{
	for (unsigned w = 0; w < WINDOWS; w++) {
		struct window *window = &s->windows[w];

		if (window->mapped >= 0)
			unmap(s, w);
		for (unsigned i = 0; i < 2; i++) {
			struct memory *m = window->memory[i];

			check_gone(s, w, m, 0);
			munmap(m->addr, WINDOW_BYTES);
			if (m->fd >= 0)
				close(m->fd);
			free(m);
		}
	}
	close(s->slices);
}
