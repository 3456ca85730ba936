/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An address space: IOVA → memory.  The mechanism only; which requests are refused, and with what
 * errno, is a rule set's business (type1.h).
 *
 * Theory of operation.  Mappings are kept in a tree that readers walk under RCU without a lock
 * (tree.h).  A transfer looks its mapping up, takes a reference (the in-flight count), checks that
 * the mapping was not removed meanwhile, leaves RCU, and only then touches memory.  Removing takes
 * the mapping out of the tree, marks it dead, and waits for the references of that mapping alone
 * (futex, no poll loop).  Transfers that depend on somebody's answer are abandoned instead (peer.h,
 * xfer.h).  When iommu_unmap() returns, nobody touches that memory through it any
 * more.
 *
 * Locks: one writer mutex an address space, never held while waiting for transfers or for the
 * door.  Order: drain mutex → writer mutex → file cache mutex.  Any thread may call anything here,
 * but not from within an RCU section, and iommu_unmap() and iommu_drain() not from a thread that
 * holds a pin in their range.
 *
 * Memory.  What a client can cause is bounded: at most IOMMU_BYTES_PER_MAPPING for each mapping
 * that iommu_space_new() allows, plus IOMMU_BYTES_FIXED, plus IOMMU_BYTES_PER_FILE for each of at
 * most IOMMU_MAX_FILES files and IOMMU_MAX_PROCESSES processes.  A space keeps what it once needed
 * until it is freed.
 */
#ifndef UVFIO_IOMMU_SPACE_H
#define UVFIO_IOMMU_SPACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <uvfio/device.h>

#define IOMMU_PAGE_SIZE 4096ull
#define IOMMU_READ      1u /* the device may read (VFIO_DMA_MAP_FLAG_READ) */
#define IOMMU_WRITE     2u

/* The usable IOVA range: 48 bits without the interrupt window of x86. */
#define IOMMU_IOVA_LAST ((1ull << 48) - 1)
#define IOMMU_MSI_FIRST 0xFEE00000ull
#define IOMMU_MSI_LAST  0xFEEFFFFFull

/* Limits on what one space holds.  A request beyond them is -ENOMEM. */
#define IOMMU_MAX_MAPPINGS      ((1ull << 26) - 8192) /* whatever dma_entry_limit says */
#define IOMMU_MAX_FILES         8192 /* files with a host mapping, a few VMAs each */
#define IOMMU_MAX_PROCESSES     128  /* client address spaces, one fd each */
#define IOMMU_SPARE_PIECES      1024 /* pieces beyond one a mapping: this + the mappings allowed */
#define IOMMU_BYTES_PER_MAPPING 224
#define IOMMU_BYTES_PER_FILE    1024
#define IOMMU_BYTES_FIXED       (4u << 20)

struct iommu_space;
struct iommu_peer;
struct uvfio_trash;

/* Mappings that were taken out and not yet waited for: its makers' alone to look into. */
#define DETACHED_AHEAD 8u
struct iommu_detached {
	uint32_t head, recent[DETACHED_AHEAD]; /* the last ones added */
	uint64_t count, bytes;
};

enum iommu_mem_kind {
	IOMMU_MEM_PROCESS, /* @fd is a /proc/PID/mem, @offset the address: pread and pwrite */
	IOMMU_MEM_FILE, /* @fd is memory that never blocks (memfd, shm, hugetlbfs): mapped here */
	IOMMU_MEM_PEER, /* @peer has it: messages, see peer.h; @offset is the address that it knows
			 */
};

/* A piece of client memory, as a door hands it in: already checked for the access that the
 * mapping asks for.  The door keeps @fd; the space duplicates what it needs, once a file. */
struct iommu_mem {
	enum iommu_mem_kind kind;
	int fd;
	uint64_t offset;     /* bytes, in @fd */
	uint64_t len;        /* bytes, a multiple of the page size */
	uint64_t file_id[2]; /* FILE: st_dev, st_ino; PROCESS: an id of the address space (mm) that
			      * the door never gives out twice */
	uint32_t page;       /* FILE: page size of the file (hugetlbfs), else 4096 */
	bool may_block; /* PROCESS: touching it may wait for a disk, a network or another program */
	bool unpinnable; /* PROCESS: what a kernel could not pin, and no device's: see type1.h */
	struct uvfio_trash *trash; /* PROCESS that may block: where the space closes what it has of
				    * @fd; NULL: closing it waits for nobody */
	bool keep_fd; /* FILE: keep an fd of it, if there is room, for iommu_keep() */
	struct iommu_peer *peer; /* PEER: the space takes references; @fd and @file_id are unused */
};

enum iommu_fault_reason {
	IOMMU_FAULT_UNMAPPED,
	IOMMU_FAULT_PERMISSION,
	IOMMU_FAULT_INTERRUPT_WINDOW,
	IOMMU_FAULT_BUS_MASTER, /* recorded by the device layer */
	IOMMU_FAULT_GONE,       /* the memory behind the mapping went away */
	IOMMU_FAULT_INJECTED,   /* on demand, by the device layer */
	IOMMU_FAULT_REVOKED,    /* the memory is a device's, which does not answer */
	IOMMU_FAULT_QUIET,      /* recorded by the device layer: it is to be quiet, to be moved */
	NR_IOMMU_FAULTS
};

struct iommu_fault {
	uint64_t iova, len;
	bool write;
	enum iommu_fault_reason reason;
};

/* An empty space for at most @max_mappings mappings (clamped to 1 … IOMMU_MAX_MAPPINGS).  NULL when
 * out of memory. */
struct iommu_space *iommu_space_new(uint64_t max_mappings);
/* What it is called by people, who find it in listings: 0 unless set, before anybody uses it. */
void iommu_space_set_number(struct iommu_space *space, uint64_t number);
uint64_t iommu_space_number(const struct iommu_space *space);
/* Removes every mapping; nobody uses the space any more and no pin is left. */
void iommu_space_free(struct iommu_space *space);

/* True when any mapping intersects [@iova, @last] (inclusive). */
bool iommu_overlaps(struct iommu_space *space, uint64_t iova, uint64_t last);
/* Map [@iova, @iova+@size) to @nr pieces of memory in order; their lengths add up to @size.  Page
 * aligned, below IOMMU_IOVA_LAST.  0; -EINVAL when it is not so; -EEXIST on overlap; -ENOMEM at a
 * limit; -EFAULT when a file cannot be mapped. */
int iommu_map(struct iommu_space *space, uint64_t iova, uint64_t size, unsigned prot,
	      const struct iommu_mem *mem, unsigned nr);
/* The mapping that contains @iova, or else the first one above it that starts ≤ @last: its first
 * IOVA and its size.  False when there is none. */
bool iommu_find(struct iommu_space *space, uint64_t iova, uint64_t last, uint64_t *first,
		uint64_t *size);
/* Remove the whole mappings that lie inside [@iova, @last] (those that only intersect it are left);
 * returns the bytes removed, *@count how many mappings.  Waits for their transfers. */
uint64_t iommu_unmap(struct iommu_space *space, uint64_t iova, uint64_t last, uint64_t *count);
uint64_t iommu_mapping_count(struct iommu_space *space);

/* A device's memory of its last lookup; one user at a time.  Zero it at first and whenever the
 * device moves to another space. */
struct iommu_cache {
	uint64_t core[4];
};

/* Copy between @buf and [@iova, +@len).  0, or -EFAULT / -EIO with *@fault filled: the first
 * address that was refused and how much was left; what lies in front of it may have been
 * transferred.  No alignment needed, any number of mappings.  -ENOTSUP (and no fault) for memory
 * that iommu_submit() would not wait for.  @cache and @fault may be NULL.  uvfio_guard_init() was
 * called. */
int iommu_copy(struct iommu_space *space, struct iommu_cache *cache, uint64_t iova, void *buf,
	       size_t len, bool to_client, struct iommu_fault *fault);

/* Who transfers: a device.  ->ctx is where its transfers complete. */
struct iommu_user {
	struct uvfio_ctx *ctx;
	/* The core's. */
	pthread_mutex_t lock;
	pthread_cond_t posted;
	TAILQ_HEAD(, iommu_xfer) xfers; /* started */
	unsigned unposted;              /* of them: not yet handed to @ctx */
};
void iommu_user_init(struct iommu_user *user, struct uvfio_ctx *ctx);
/* None of its transfers is left. */
void iommu_user_fini(struct iommu_user *user);

/*
 * iommu_copy() that never waits for what is behind a mapping: where that is a peer, or a process
 * whose memory may block, the transfer goes on by messages, all at once, and 1 is returned.  Then
 * @done is called once in the context of @user, with 0 or with -errno and the first address that
 * failed; until then @buf is the core's.  -ENOMEM when there is no memory for it (no fault).
 *
 * A transfer does not hold up an unmap, a drain or iommu_user_abandon(): what is not answered is
 * abandoned, and @done is called without the answer.
 */
int iommu_submit(struct iommu_user *user, struct iommu_space *space, struct iommu_cache *cache,
		 uint64_t iova, void *buf, size_t len, bool to_client,
		 void (*done)(void *arg, int status, const struct iommu_fault *fault), void *arg,
		 struct iommu_fault *fault);
/* End what @user has in progress with @status (-EPERM, -EIO), and wait until each has been handed
 * to the context (uvfio_ctx_flush() then waits for the calls).  Nothing is submitted meanwhile. */
void iommu_user_abandon(struct iommu_user *user, int status);

/* Pin: see uvfio_dma_pin() in device.h.  Count of entries (host addresses that follow one another
 * share one), or -ENOTSUP, -E2BIG, -EFAULT, -ENOMEM and nothing is pinned.  Unpin in any thread. */
int iommu_pin(struct iommu_space *space, struct iommu_cache *cache, uint64_t iova, size_t len,
	      bool to_client, struct iovec *iov, int max_iov, struct uvfio_dma_pin *pin,
	      struct iommu_fault *fault);
void iommu_unpin(struct uvfio_dma_pin *pin);

/* A mapping, for listings. */
struct iommu_listed {
	uint64_t iova, size;
	unsigned prot;            /* IOMMU_… */
	unsigned pieces;          /* of memory, at least 1 */
	enum iommu_mem_kind kind; /* of the first one */
	char device[16];          /* whose memory that is, if a device's; else "" */
};
#define IOMMU_LIST_MAX 256u
/* The mappings that end at @iova or later, ascending: up to @max (at most IOMMU_LIST_MAX, which is
 * what is looked at under the writer mutex at a time) are in @out; returns how many.  *@count: how
 * many there are in all. */
unsigned iommu_list(struct iommu_space *space, uint64_t iova, struct iommu_listed *out,
		    unsigned max, uint64_t *count);

/* A mapping, for who maps the same elsewhere. */
struct iommu_kept {
	uint64_t iova, size, offset; /* in the file, or the address that a peer knows */
	unsigned prot;
	int fd; /* the space's, while it is mapped; -1: a peer's */
};
/* Likewise, up to @max of them in @out: how many, or -EOPNOTSUPP when one is anything else than one
 * piece of a file that was kept (struct iommu_mem), or of a peer that is no device. */
int iommu_keep(struct iommu_space *space, uint64_t iova, struct iommu_kept *out, unsigned max);

/* Wait until no transfer of a mapping in [@iova, @last] that began before this call is in flight.
 * Transfers that begin later do not prolong it.  Those by messages are abandoned. */
void iommu_drain(struct iommu_space *space, uint64_t iova, uint64_t last);

#endif
