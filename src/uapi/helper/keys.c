/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keys of VFIO's files, for their ioctls.
 *
 * To find out which file a descriptor of ours is takes another process much longer than us.  So
 * once a few ioctls were made, the runner is asked for the key of the file; from then on each ioctl
 * looks at its descriptor itself (which inode, and not a path only), and carries the key behind its
 * own arguments; with it go the first bytes of what the ioctl's argument points to, if that is on
 * the stack, so that the runner need not fetch them.  What is remembered is by inode, never by
 * number: numbers change hands behind our back.  A key that has become worthless is no harm: the
 * runner looks for itself then.
 *
 * Lock-free, since signal handlers make ioctls too: an entry that is just being written is none.
 */
#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "uapi/helper/helper.h"

#define ENTRIES    64u
#define MAIN_STACK (96u << 10) /* execve gives it 128 KiB, where that is allowed */
#define ASK_EVERY                                                                                  \
	8u /* ioctls without a key, so that a program with a few of them is not held up            \
	    */

static struct {
	_Atomic unsigned version; /* odd: being written */
	_Atomic uint64_t dev, ino, key;
} entries[ENTRIES];
static _Atomic unsigned without; /* ioctls that had no key */

static uint64_t find(uint64_t dev, uint64_t ino)
{
	unsigned i = ino % ENTRIES, version = atomic_load(&entries[i].version);
	uint64_t key = atomic_load(&entries[i].key);

	if (version & 1 || atomic_load(&entries[i].ino) != ino ||
	    atomic_load(&entries[i].dev) != dev || atomic_load(&entries[i].version) != version)
		return 0;
	return key;
}

static void enter(const struct uvfio_trap_file *file)
{
	unsigned i = file->ino % ENTRIES, version = atomic_load(&entries[i].version);

	if (version & 1 ||
	    !atomic_compare_exchange_strong(&entries[i].version, &version, version + 1))
		return;
	atomic_store(&entries[i].dev, file->dev);
	atomic_store(&entries[i].ino, file->ino);
	atomic_store(&entries[i].key, file->key);
	atomic_store(&entries[i].version, version + 2);
}

uint64_t keys_of(int fd)
{
	struct stat st;
	uint64_t key;
	long flags;

	if (sys_failed(sys2(SYS_fstat, fd, (long)&st)))
		return 0;
	key = find(st.st_dev, st.st_ino);
	if (!key)
		return 0;
	/* After that: what it was a path to is one of ours. */
	flags = sys2(SYS_fcntl, fd, F_GETFL);
	return sys_failed(flags) || flags & O_PATH ? 0 : key;
}

void keys_learn(int fd)
{
	struct uvfio_trap_file file;

	if (atomic_fetch_add(&without, 1) % ASK_EVERY != ASK_EVERY - 1)
		return;
	if (!sys3(SYS_ioctl, fd, UVFIO_TRAP_KEY, (long)&file) && file.key)
		enter(&file);
}

/*
 * Are @len bytes at @addr there to be read, as long as the function with @frame has not returned?
 * Only what lies above it on the same stack can be, and of that what is certain to be mapped: the
 * rest of the page with its return address, and all below what exec put at the top of the first
 * thread's stack, if the function runs there.  That thread's stack has a whole MAIN_STACK from the
 * start; a kernel lets nothing else be mapped right below it.
 */
static bool is_on_stack(uint64_t addr, size_t len, uint64_t frame)
{
	const uint64_t top = atomic_load_explicit(&helper.stack_top, memory_order_relaxed);
	uint64_t end = ((frame + sizeof(void *)) | (PAGE - 1)) + 1;

	if (frame < top && top - frame <= MAIN_STACK)
		end = top;
	return addr >= frame && addr < end && len <= end - addr;
}

long keys_ioctl(int fd, unsigned long request, const void *arg, uint64_t key, const void *frame)
{
	const uint64_t addr = (uint64_t)arg;
	uint64_t bytes[2] = {0};
	long ret;

	static_assert(sizeof(bytes) == UVFIO_TRAP_CARRIED_BYTES, "two registers");
	if (is_on_stack(addr, sizeof(bytes), (uint64_t)frame)) {
		memcpy(bytes, arg, sizeof(bytes));
		key |= UVFIO_TRAP_CARRIES;
	}
	key = uvfio_trap_seal(key, fd, (uint32_t)request, addr);
	ret = sys6(SYS_ioctl, fd, (long)request, (long)addr, (long)key, (long)bytes[0],
		   (long)bytes[1]);
	/* They are nobody's arguments but this one's: a system call that is made without the C
	 * library may leave in these registers what it finds there. */
	__asm__ volatile("xorl %%r10d, %%r10d\n\txorl %%r8d, %%r8d\n\txorl %%r9d, %%r9d"
			 :
			 :
			 : "r10", "r8", "r9", "cc");
	return ret;
}
