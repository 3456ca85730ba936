/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keys of VFIO's files, for their ioctls.
 *
 * To find out which file a descriptor of ours is takes another process much longer than us.  So
 * once a few ioctls were made, the runner is asked for the key of the file; from then on each ioctl
 * looks at its descriptor itself (which inode, and not a path only), and carries the key behind its
 * own arguments.  What is remembered is by inode, never by number: numbers change hands behind our
 * back.  A key that has become worthless is no harm: the runner looks for itself then.
 *
 * Lock-free, since signal handlers make ioctls too: an entry that is just being written is none.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "uapi/helper/helper.h"

#define ENTRIES 64u
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

long keys_ioctl(int fd, unsigned long request, void *arg, uint64_t key)
{
	long ret =
		sys5(SYS_ioctl, fd, (long)request, (long)arg, (long)key, (long)uvfio_trap_mark(fd));

	/* They are nobody's arguments but this one's: a system call that is made without the C
	 * library may leave in these registers what it finds there. */
	__asm__ volatile("xorl %%r10d, %%r10d\n\txorl %%r8d, %%r8d" : : : "r10", "r8", "cc");
	return ret;
}
