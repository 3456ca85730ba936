/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "iommu/files.h"
#include "iommu/peer.h"
#include "iommu/process.h"

#define GIB          (1ull << 30)
#define TIB          (1ull << 40)
#define WINDOW_ALIGN (2ull << 20) /* so that the kernel may use huge pages */

struct iommu_files *files_new(void)
{
	struct iommu_files *files = calloc(1, sizeof(*files));

	if (!files)
		return NULL;
	files->refs = 1;
	pthread_mutex_init(&files->lock, NULL);
	return files;
}

void files_hold(struct iommu_files *files)
{
	__atomic_fetch_add(&files->refs, 1, __ATOMIC_RELAXED);
}

void files_drop(struct iommu_files *files)
{
	if (__atomic_sub_fetch(&files->refs, 1, __ATOMIC_ACQ_REL))
		return;
	assert(!files->nr_files && !files->nr_processes && !files->reserved);
	workers_free(files->workers);
	pthread_mutex_destroy(&files->lock);
	free(files);
}

static struct iommu_file **bucket_of(struct iommu_files *files, const uint64_t id[2])
{
	uint64_t h = (id[0] * 0x9E3779B97F4A7C15ull ^ id[1]) * 0xD6E8FEB86659FD93ull;

	return &files->bucket[h >> 56];
}
static_assert(FILES_BUCKETS == 256, "the top byte of the hash");

static int map_fixed(const struct iommu_window *w, uint64_t len, int fd, bool writable)
{
	void *p = mmap(w->base, len, writable ? PROT_READ | PROT_WRITE : PROT_READ,
		       MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, (off_t)w->offset);

	if (p != MAP_FAILED)
		return 0;
	return errno == ENOMEM ? -ENOMEM : -EFAULT;
}

/* Address space that nobody uses, aligned to @align, a power of two. */
static uint8_t *reserve(uint64_t span, uint64_t align)
{
	uint64_t len = span + align, head;
	uint8_t *p;

	p = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	head = -(uint64_t)(uintptr_t)p & (align - 1);
	if (head)
		munmap(p, head);
	munmap(p + head + span, len - head - span);
	return p + head;
}

/* Where a new window for [@lo, @hi) of a file of @size bytes lies. */
static void choose(const struct iommu_file *file, uint64_t size, uint64_t page, uint64_t lo,
		   uint64_t hi, struct iommu_window *w)
{
	uint64_t before = 0;

	for (const struct iommu_window *i = file->windows; i; i = i->next)
		before += i->span;
	if (!before) {
		/* The whole file, with room to grow fourfold. */
		w->offset = 0;
		w->span = GIB;
		while (w->span < size && w->span < TIB)
			w->span <<= 1;
		if (w->span < TIB / 4)
			w->span <<= 2;
	} else {
		/* Each further one is larger than all before it, so that there are few. */
		w->span = GIB;
		while (w->span < 2 * before && w->span < TIB)
			w->span <<= 1;
		w->offset = lo & ~(w->span - 1);
	}
	if (lo < w->offset || hi > w->offset + w->span) {
		w->offset = lo;
		w->span = hi - lo;
	}
	w->span = (w->span + page - 1) & ~(page - 1);
}

static int add_window(struct iommu_files *files, struct iommu_file *file,
		      const struct iommu_mem *mem, uint64_t size, uint64_t lo, uint64_t hi)
{
	uint64_t page = mem->page, align = page > WINDOW_ALIGN ? page : WINDOW_ALIGN;
	struct iommu_window *w;
	int ret;

	if (file->nr_windows == FILES_MAX_WINDOWS)
		return -ENOMEM;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	choose(file, size, page, lo, hi, w);
	if (w->span <= FILES_MAX_RESERVED - files->reserved)
		w->base = reserve(w->span, align);
	if (!w->base) { /* no room to be generous */
		w->offset = lo;
		w->span = hi - lo;
		if (w->span <= FILES_MAX_RESERVED - files->reserved)
			w->base = reserve(w->span, align);
	}
	if (!w->base) {
		free(w);
		return -ENOMEM;
	}
	w->mapped = w->span;
	if (page > IOMMU_PAGE_SIZE && size - w->offset < w->mapped)
		w->mapped = size - w->offset;
	ret = map_fixed(w, w->mapped, mem->fd, file->writable);
	if (ret) {
		munmap(w->base, w->span);
		free(w);
		return ret;
	}
	files->reserved += w->span;
	w->next = file->windows;
	file->windows = w;
	file->nr_windows++;
	return 0;
}

/* The host address of @mem in a window of @file.  Mutex held. */
static int get_host(struct iommu_files *files, struct iommu_file *file, const struct iommu_mem *mem,
		    uint8_t **host)
{
	uint64_t page = mem->page, lo = mem->offset & ~(page - 1), hi, size;
	struct iommu_window *w;
	struct stat st;
	int ret;

	hi = (mem->offset + mem->len + page - 1) & ~(page - 1);
	for (w = file->windows; w; w = w->next) {
		if (lo < w->offset || hi > w->offset + w->span)
			continue;
		if (hi <= w->offset + w->mapped)
			goto found;
		break;
	}
	if (uvfio_fstat(mem->fd, &st))
		return -EFAULT;
	size = ((uint64_t)st.st_size + page - 1) & ~(page - 1);
	if (hi > size)
		return -EFAULT;
	if (w) { /* hugetlbfs, and it has grown */
		uint64_t mapped = size - w->offset < w->span ? size - w->offset : w->span;

		ret = map_fixed(w, mapped, mem->fd, file->writable);
		if (ret)
			return ret;
		w->mapped = mapped;
	} else {
		ret = add_window(files, file, mem, size, lo, hi);
		if (ret)
			return ret;
		w = file->windows;
	}
found:
	*host = w->base + (mem->offset - w->offset);
	return 0;
}

/* @file is in no list any more, or never was. */
static void destroy(struct iommu_file *file)
{
	struct iommu_window *w;

	while ((w = file->windows)) {
		file->windows = w->next;
		munmap(w->base, w->span);
		free(w);
	}
	if (file->peer)
		iommu_peer_unref(file->peer);
	if (file->fd >= 0)
		close(file->fd);
	free(file);
}

/* Unlink @file, which nobody refers to.  Mutex held. */
static void remove_file(struct iommu_files *files, struct iommu_file *file)
{
	struct iommu_file **p = bucket_of(files, file->id);

	while (*p != file)
		p = &(*p)->next;
	*p = file->next;
	if (file->kind == IOMMU_MEM_PROCESS)
		files->nr_processes--;
	else
		files->nr_files--;
	if (file->kind == IOMMU_MEM_FILE && file->fd >= 0)
		files->nr_kept--;
	for (const struct iommu_window *w = file->windows; w; w = w->next)
		files->reserved -= w->span;
}

/* An fd of our own on the process behind @mem, and what reaches it when it may block. */
static int open_process(struct iommu_files *files, const struct iommu_mem *mem,
			struct iommu_file *file)
{
	if (!mem->may_block) {
		file->fd = fcntl(mem->fd, F_DUPFD_CLOEXEC, 0);
		if (file->fd < 0)
			return errno == EBADF ? -EFAULT : -ENOMEM;
		return 0;
	}
	if (fcntl(mem->fd, F_GETFD) < 0)
		return -EFAULT;
	if (!files->workers)
		files->workers = workers_new();
	if (files->workers)
		file->peer = process_peer_new(files->workers, mem->fd, mem->trash);
	return file->peer ? 0 : -ENOMEM;
}

static int add_file(struct iommu_files *files, const struct iommu_mem *mem, const uint64_t id[2],
		    bool writable, struct iommu_file **out)
{
	bool process = mem->kind == IOMMU_MEM_PROCESS;
	struct iommu_file *file, **bucket = bucket_of(files, id);
	int ret;

	if (process ? files->nr_processes >= IOMMU_MAX_PROCESSES
		    : files->nr_files >= IOMMU_MAX_FILES)
		return -ENOMEM;
	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->kind = mem->kind;
	file->writable = writable;
	file->may_block = process && mem->may_block;
	file->id[0] = id[0];
	file->id[1] = id[1];
	file->fd = -1;
	if (process) {
		ret = open_process(files, mem, file);
		if (ret) {
			destroy(file);
			return ret;
		}
		files->nr_processes++;
	} else {
		files->nr_files++;
	}
	if (mem->kind == IOMMU_MEM_FILE && mem->keep_fd && files->nr_kept < FILES_MAX_KEPT) {
		/* Without it all works but iommu_keep(). */
		file->fd = fcntl(mem->fd, F_DUPFD_CLOEXEC, 3);
		files->nr_kept += file->fd >= 0;
	}
	if (mem->kind == IOMMU_MEM_PEER) {
		iommu_peer_ref(mem->peer);
		file->peer = mem->peer;
	}
	file->next = *bucket;
	*bucket = file;
	*out = file;
	return 0;
}

/* A piece that no window could hold. */
static bool bad_file_piece(const struct iommu_mem *mem)
{
	uint64_t page = mem->page;

	return page < IOMMU_PAGE_SIZE || (page & (page - 1)) || mem->offset >> 62 ||
	       mem->len >> 62 || mem->offset + mem->len + page >= 1ull << 62;
}

int files_get(struct iommu_files *files, const struct iommu_mem *mem, bool writable,
	      struct iommu_file **out, uint8_t **host)
{
	uint64_t id[2] = {mem->file_id[0], mem->file_id[1]};
	bool may_block = mem->kind == IOMMU_MEM_PROCESS && mem->may_block;
	struct iommu_file *file;
	int ret = 0;

	*host = NULL;
	if (mem->kind == IOMMU_MEM_PEER) {
		id[0] = (uintptr_t)mem->peer;
		id[1] = 0;
	}
	if (mem->kind != IOMMU_MEM_FILE)
		writable = false;
	else if (bad_file_piece(mem))
		return -EFAULT;
	pthread_mutex_lock(&files->lock);
	for (file = *bucket_of(files, id); file; file = file->next)
		if (file->id[0] == id[0] && file->id[1] == id[1] && file->kind == mem->kind &&
		    file->writable == writable && file->may_block == may_block)
			break;
	if (!file)
		ret = add_file(files, mem, id, writable, &file);
	if (!ret && mem->kind == IOMMU_MEM_FILE) {
		ret = get_host(files, file, mem, host);
		if (ret && !file->refs) {
			remove_file(files, file);
			destroy(file);
		}
	}
	if (!ret) {
		__atomic_fetch_add(&file->refs, 1, __ATOMIC_RELAXED);
		*out = file;
	}
	pthread_mutex_unlock(&files->lock);
	return ret;
}

void files_put(struct iommu_files *files, struct iommu_file *file)
{
	uint32_t refs = __atomic_load_n(&file->refs, __ATOMIC_RELAXED);

	while (refs > 1)
		if (__atomic_compare_exchange_n(&file->refs, &refs, refs - 1, true,
						__ATOMIC_RELEASE, __ATOMIC_RELAXED))
			return;
	pthread_mutex_lock(&files->lock);
	if (__atomic_sub_fetch(&file->refs, 1, __ATOMIC_ACQ_REL)) {
		pthread_mutex_unlock(&files->lock);
		return;
	}
	remove_file(files, file);
	pthread_mutex_unlock(&files->lock);
	destroy(file);
}
