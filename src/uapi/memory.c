/* SPDX-License-Identifier: BSD-3-Clause */
#include "uapi/memory.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "uapi/process.h"
#include "uapi/task.h"
#include "uapi/vma.h"
#include "vfio/device_memory.h"

#define CACHE_ENTRIES 64   /* tasks that map memory at a time; more only cost time */
#define MAX_PIECES    4096 /* of one mapping: bounds what a request can allocate */
#define RANDOM_BYTES  16

struct mem_entry {
	pid_t tid;
	int proc;       /* /proc/TID */
	int mem;        /* /proc/TID/mem */
	int maps;       /* /proc/TID/maps */
	unsigned users; /* imports under way */
	bool stale;     /* to be freed with the last user */
	uint64_t id;
	uint64_t used;                 /* for eviction */
	struct iommu_account *account; /* made when needed: the lock */
	uint64_t random_at;            /* the address of @random in the program */
	uint8_t random[RANDOM_BYTES];
};

struct memory_cache {
	pthread_mutex_t lock;
	struct mem_entry *entries[CACHE_ENTRIES];
	uint64_t last_id, clock;
	struct memory_devices devices;
};

struct memory_cache *memory_cache_new(const struct memory_devices *devices)
{
	struct memory_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	pthread_mutex_init(&cache->lock, NULL);
	if (devices)
		cache->devices = *devices;
	return cache;
}

static void entry_free(struct mem_entry *entry)
{
	iommu_account_unref(entry->account);
	if (entry->maps >= 0)
		close(entry->maps);
	if (entry->mem >= 0)
		close(entry->mem);
	if (entry->proc >= 0)
		close(entry->proc);
	free(entry);
}

void memory_cache_free(struct memory_cache *cache)
{
	if (!cache)
		return;
	for (unsigned i = 0; i < CACHE_ENTRIES; i++)
		if (cache->entries[i])
			entry_free(cache->entries[i]);
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

/* Where in the program the 16 bytes are that the kernel gave it at its exec; 0: nowhere. */
static int find_random(int proc, uint64_t *at)
{
	Elf64_auxv_t auxv[64];
	int fd = openat(proc, "auxv", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	*at = 0;

	if (fd < 0)
		return -errno;
	n = read(fd, auxv, sizeof(auxv));
	close(fd);
	if (n < 0)
		return -errno;
	for (size_t i = 0; i < (size_t)n / sizeof(auxv[0]); i++)
		if (auxv[i].a_type == AT_RANDOM)
			*at = auxv[i].a_un.a_val;
	return 0;
}

static int read_random(pid_t tid, uint64_t at, uint8_t out[RANDOM_BYTES])
{
	ssize_t n;

	/* A program may unmap its stack; then the bytes are zero from then on, and it is on its
	 * own. */
	memset(out, 0, RANDOM_BYTES);
	n = at ? uapi_task_read(tid, out, at, RANDOM_BYTES) : 0;
	return n < 0 && n != -EFAULT ? (int)n : 0;
}

/* Does the program of @entry still run?  After an exec other bytes are there, or none. */
static bool same_program(const struct mem_entry *entry)
{
	static const uint8_t zero[RANDOM_BYTES];
	uint64_t at = entry->random_at;
	uint8_t random[RANDOM_BYTES];

	if (!memcmp(entry->random, zero, RANDOM_BYTES) && find_random(entry->proc, &at))
		return false;
	return !read_random(entry->tid, at, random) && !memcmp(random, entry->random, RANDOM_BYTES);
}

static int entry_open(pid_t tid, struct mem_entry **out)
{
	struct mem_entry *entry = calloc(1, sizeof(*entry));
	char path[32];
	int ret;

	if (!entry)
		return -ENOMEM;
	snprintf(path, sizeof(path), "/proc/%d", tid);
	entry->tid = tid;
	entry->mem = entry->maps = -1;
	entry->proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (entry->proc >= 0)
		entry->mem = openat(entry->proc, "mem", O_RDWR | O_CLOEXEC);
	if (entry->mem >= 0)
		entry->maps = openat(entry->proc, "maps", O_RDONLY | O_CLOEXEC);
	ret = entry->maps >= 0 ? find_random(entry->proc, &entry->random_at) : -errno;
	if (!ret)
		ret = read_random(tid, entry->random_at, entry->random);
	if (ret) {
		entry_free(entry);
		return ret;
	}
	*out = entry;
	return 0;
}

/* Find a place for a new entry: a free one, or that of the least recently used.  Locked. */
static void insert(struct memory_cache *cache, struct mem_entry *entry)
{
	unsigned best = CACHE_ENTRIES;

	for (unsigned i = 0; i < CACHE_ENTRIES; i++) {
		struct mem_entry *e = cache->entries[i];

		if (!e) {
			best = i;
			break;
		}
		if (!e->users && (best == CACHE_ENTRIES || e->used < cache->entries[best]->used))
			best = i;
	}
	if (best == CACHE_ENTRIES) {
		entry->stale = true; /* not kept */
		return;
	}
	if (cache->entries[best])
		entry_free(cache->entries[best]);
	cache->entries[best] = entry;
}

/* Take @entry out of the table; frees it when nobody uses it.  Locked. */
static void drop(struct memory_cache *cache, struct mem_entry *entry)
{
	for (unsigned i = 0; i < CACHE_ENTRIES; i++)
		if (cache->entries[i] == entry)
			cache->entries[i] = NULL;
	entry->stale = true;
	if (!entry->users)
		entry_free(entry);
}

static void entry_put(struct memory_cache *cache, struct mem_entry *entry)
{
	pthread_mutex_lock(&cache->lock);
	if (--entry->users == 0 && entry->stale)
		entry_free(entry);
	pthread_mutex_unlock(&cache->lock);
}

static int entry_get(struct memory_cache *cache, pid_t tid, struct mem_entry **out)
{
	struct mem_entry *entry = NULL;
	int ret;

	pthread_mutex_lock(&cache->lock);
	for (unsigned i = 0; i < CACHE_ENTRIES && !entry; i++)
		if (cache->entries[i] && cache->entries[i]->tid == tid)
			entry = cache->entries[i];
	if (entry) {
		entry->users++;
		entry->used = ++cache->clock;
	}
	pthread_mutex_unlock(&cache->lock);

	if (entry) {
		if (same_program(entry)) {
			*out = entry;
			return 0;
		}
		pthread_mutex_lock(&cache->lock);
		entry->users--;
		if (!entry->stale)
			drop(cache, entry);
		else if (!entry->users)
			entry_free(entry);
		pthread_mutex_unlock(&cache->lock);
	}
	ret = entry_open(tid, &entry);
	if (ret)
		return ret;
	pthread_mutex_lock(&cache->lock);
	entry->id = ++cache->last_id;
	entry->used = ++cache->clock;
	entry->users = 1;
	insert(cache, entry);
	pthread_mutex_unlock(&cache->lock);
	*out = entry;
	return 0;
}

struct iommu_account *memory_account(struct memory_cache *cache, pid_t tid)
{
	struct iommu_account *account = NULL;
	struct mem_entry *entry;
	pid_t tgid = uapi_task_tgid(tid);

	/* All threads of a process are one account. */
	if (entry_get(cache, tgid > 0 ? tgid : tid, &entry))
		return NULL;
	pthread_mutex_lock(&cache->lock);
	if (!entry->account)
		entry->account = iommu_account_new(entry->id);
	account = entry->account;
	if (account)
		iommu_account_ref(account);
	pthread_mutex_unlock(&cache->lock);
	entry_put(cache, entry);
	return account;
}

/* ---- one import ---- */

struct import {
	struct memory_cache *cache;
	struct mem_entry *entry;
	int process_fd; /* a duplicate of the entry's, for all pieces */
	uint64_t start, end;
	unsigned prot, asked;
	struct iommu_mem *mem;
	unsigned nr, allocated;
};

/* What a piece holds besides the process's fd, which all share. */
static void drop_piece(const struct iommu_mem *piece)
{
	if (piece->kind == IOMMU_MEM_FILE)
		close(piece->fd);
	else if (piece->kind == IOMMU_MEM_PEER)
		vfio_device_memory_put(piece);
}

static int add_piece(struct import *im, const struct iommu_mem *piece)
{
	struct iommu_mem *last = im->nr ? &im->mem[im->nr - 1] : NULL;

	if (last && last->kind == piece->kind && last->may_block == piece->may_block &&
	    last->unpinnable == piece->unpinnable && last->peer == piece->peer &&
	    last->file_id[0] == piece->file_id[0] && last->file_id[1] == piece->file_id[1] &&
	    last->offset + last->len == piece->offset) {
		last->len += piece->len;
		drop_piece(piece);
		return 0;
	}
	if (im->nr == im->allocated) {
		unsigned more = im->allocated ? 2 * im->allocated : 4;
		struct iommu_mem *mem;

		if (im->nr >= MAX_PIECES)
			return -ENOMEM;
		mem = realloc(im->mem, more * sizeof(*mem));
		if (!mem)
			return -ENOMEM;
		im->mem = mem;
		im->allocated = more;
	}
	im->mem[im->nr++] = *piece;
	return 0;
}

/* Memory that never waits for a disk, a network or a user-space server. */
static bool never_blocks(int fd, uint32_t *page)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return false;
	if (fs.f_type == HUGETLBFS_MAGIC)
		*page = (uint32_t)fs.f_bsize;
	return fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC || fs.f_type == RAMFS_MAGIC;
}

static bool same_file(int fd, const struct vma *vma)
{
	struct stat st;

	return !fstat(fd, &st) && st.st_dev == vma->dev && st.st_ino == vma->ino &&
	       S_ISREG(st.st_mode);
}

/* An fd of our own on the file behind @vma: through map_files when we may, else through a file
 * descriptor of the task that is still open on it. */
static int open_file(int proc, const struct vma *vma, int flags)
{
	char path[64];
	struct dirent *d;
	int fd, dirfd;
	DIR *dir;

	snprintf(path, sizeof(path), "map_files/%llx-%llx", (unsigned long long)vma->start,
		 (unsigned long long)vma->end);
	fd = openat(proc, path, flags | O_CLOEXEC);
	if (fd >= 0) {
		if (same_file(fd, vma))
			return uapi_fd_to_keep(fd);
		close(fd);
	}
	dirfd = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = dirfd >= 0 ? fdopendir(dirfd) : NULL;
	if (!dir) {
		if (dirfd >= 0)
			close(dirfd);
		return -1;
	}
	fd = -1;
	while (fd < 0 && (d = readdir(dir))) {
		struct stat st;

		/* Look before opening: to open a pipe or a device has side effects. */
		if (d->d_name[0] == '.' || fstatat(dirfd, d->d_name, &st, 0) ||
		    !S_ISREG(st.st_mode) || st.st_dev != vma->dev || st.st_ino != vma->ino)
			continue;
		fd = openat(dirfd, d->d_name, flags | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0 && !same_file(fd, vma)) {
			close(fd);
			fd = -1;
		}
	}
	closedir(dir);
	return fd < 0 ? -1 : uapi_fd_to_keep(fd);
}

/* Is the file behind @vma an ordinary one?  Asks nobody but the kernel; false: perhaps not. */
static bool is_regular(int proc, const struct vma *vma)
{
	char path[64];
	struct stat st;
	bool is;
	int fd;

	if (vma->page_size > IOMMU_PAGE_SIZE)
		return true; /* hugetlbfs */
	snprintf(path, sizeof(path), "map_files/%llx-%llx", (unsigned long long)vma->start,
		 (unsigned long long)vma->end);
	fd = openat(proc, path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return false;
	is = !uvfio_fstat_unasked(fd, &st) && S_ISREG(st.st_mode);
	close(fd);
	return is;
}

/* What cannot be pinned is taken as long as it can be reached, and marked: the core decides (D.2).
 * It is mapped whole, so this waits for nobody. */
static int add_unpinnable(struct import *im, const struct iommu_mem *piece)
{
	uint8_t byte;

	return pread(piece->fd, &byte, 1, (off_t)piece->offset) == 1 ? add_piece(im, piece)
								     : -EFAULT;
}

/* Add @piece, memory of the process itself, after a look at what it is. */
static int add_process(struct import *im, const struct vma *vma, struct iommu_mem *piece)
{
	int ret;

	piece->unpinnable = vma->kernels;
	if (vma->file && (vma->shared || !is_regular(im->entry->proc, vma))) {
		ret = vma_unpinnable(im->entry->proc, vma, &piece->unpinnable);
		if (ret)
			return ret;
	}
	return piece->unpinnable ? add_unpinnable(im, piece) : add_piece(im, piece);
}

/* DMA that writes wants a writable mapping, other DMA a readable one. */
static bool may_access(const struct import *im, unsigned vma_prot)
{
	return vma_prot & (im->prot & IOMMU_WRITE ? PROT_WRITE : PROT_READ);
}

/* If [@addr, +@len) of @vma is of a BAR: 0, -errno or MEMORY_BAR_FOREIGN; else -ENOENT. */
static int import_bar(struct import *im, const struct vma *vma, uint64_t addr, uint64_t len)
{
	const struct memory_devices *devices = &im->cache->devices;
	struct iommu_mem piece;
	bool trapped = false;
	int ret;

	if (!devices->bar)
		return -ENOENT;
	ret = devices->bar(devices->arg, vma->dev, vma->ino, vma->offset + (addr - vma->start), len,
			   &piece, &trapped);
	if (ret)
		return ret;
	ret = may_access(im, vma->prot | (trapped ? im->asked : 0)) ? add_piece(im, &piece)
								    : -EFAULT;
	if (ret)
		drop_piece(&piece);
	return ret;
}

static int import_vma(void *arg, const struct vma *vma)
{
	struct import *im = arg;
	uint64_t first = vma->start > im->start ? vma->start : im->start;
	uint64_t last = vma->end < im->end ? vma->end : im->end;
	struct iommu_mem piece = {
		.kind = IOMMU_MEM_PROCESS,
		.fd = im->process_fd,
		.offset = first,
		.len = last - first,
		.file_id = {im->entry->id, 0},
		.page = 4096,
		.may_block = vma->file,
	};
	bool writable = true;
	int fd = -1, ret;

	ret = vma->file ? import_bar(im, vma, first, last - first) : -ENOENT;
	if (ret == MEMORY_BAR_FOREIGN)
		piece.unpinnable = true;
	else if (ret != -ENOENT)
		return ret;
	if (!may_access(im, vma->prot))
		return -EFAULT;
	if (piece.unpinnable)
		return add_unpinnable(im, &piece);
	if (vma->file && vma->shared) {
		fd = open_file(im->entry->proc, vma, O_RDWR);
		if (fd < 0) {
			writable = false;
			fd = im->prot & IOMMU_WRITE ? -1
						    : open_file(im->entry->proc, vma, O_RDONLY);
		}
		if (fd >= 0 && never_blocks(fd, &piece.page)) {
			piece.kind = IOMMU_MEM_FILE;
			piece.may_block = false;
			piece.fd = fd;
			piece.offset = vma->offset + (first - vma->start);
			piece.file_id[0] = vma->dev;
			/* What could only be opened for reading is mapped apart. */
			piece.file_id[1] = vma->ino | (writable ? 0 : 1ull << 63);
			ret = add_piece(im, &piece);
			if (ret)
				close(fd);
			return ret;
		}
		/* A file on a disk: the kernel refuses to pin it for writing. */
		if (fd >= 0) {
			close(fd);
			if (im->prot & IOMMU_WRITE)
				return -EFAULT;
			return add_piece(im, &piece);
		}
		if (im->prot & IOMMU_WRITE && vma_written_back(im->entry->proc, vma))
			return -EFAULT;
	}
	return add_process(im, vma, &piece);
}

int memory_import_file(struct memory_cache *cache, int fd, uint64_t offset, uint64_t size,
		       unsigned prot, struct iommu_mem **mem, unsigned *nr)
{
	struct iommu_mem piece = {
		.kind = IOMMU_MEM_FILE, .fd = fd, .offset = offset, .len = size, .page = 4096};
	int flags = fcntl(fd, F_GETFL), seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	/* Only memory files have seals; the others are not even looked at. */
	if (flags < 0 || seals < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    !never_blocks(fd, &piece.page))
		return -EINVAL;
	if (cache->devices.is_ours &&
	    cache->devices.is_ours(cache->devices.arg, st.st_dev, st.st_ino))
		return -EINVAL;
	if (offset > (uint64_t)st.st_size || size > (uint64_t)st.st_size - offset)
		return -EINVAL;
	if ((flags & O_ACCMODE) == O_WRONLY ||
	    (prot & IOMMU_WRITE &&
	     ((flags & O_ACCMODE) != O_RDWR || seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))))
		return -EPERM;
	piece.file_id[0] = st.st_dev;
	piece.file_id[1] = st.st_ino | ((flags & O_ACCMODE) == O_RDWR ? 0 : 1ull << 63);
	*mem = malloc(sizeof(piece));
	if (!*mem)
		return -ENOMEM;
	**mem = piece;
	*nr = 1;
	return 0;
}

/* Close every fd of the pieces once: those of processes share one. */
void memory_release(struct iommu_mem *mem, unsigned nr)
{
	int process = -1;

	for (unsigned i = 0; i < nr; i++) {
		if (mem[i].kind == IOMMU_MEM_PROCESS)
			process = mem[i].fd;
		else
			drop_piece(&mem[i]);
	}
	if (process >= 0)
		close(process);
	free(mem);
}

int memory_import(struct memory_cache *cache, pid_t tid, uint64_t vaddr, uint64_t size,
		  unsigned prot, unsigned asked, struct iommu_mem **mem, unsigned *nr)
{
	struct import im = {
		.cache = cache, .start = vaddr, .end = vaddr + size, .prot = prot, .asked = asked};
	int ret = entry_get(cache, tid, &im.entry);
	bool used = false;

	if (ret)
		return ret;
	im.process_fd = fcntl(im.entry->mem, F_DUPFD_CLOEXEC, 3);
	im.process_fd = uapi_fd_to_keep(im.process_fd < 0 ? -errno : im.process_fd);
	if (im.process_fd < 0)
		ret = im.process_fd;
	else
		ret = size ? vma_walk(im.entry->proc, im.entry->maps, im.start, im.end, import_vma,
				      &im)
			   : -EINVAL;
	entry_put(cache, im.entry);
	for (unsigned i = 0; i < im.nr; i++)
		used |= im.mem[i].kind == IOMMU_MEM_PROCESS;
	if (!used && im.process_fd >= 0)
		close(im.process_fd);
	if (ret) {
		memory_release(im.mem, im.nr);
		return ret;
	}
	*mem = im.mem;
	*nr = im.nr;
	return 0;
}
