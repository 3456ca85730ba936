/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lock of a file: who has the data, when it is given back, and what is to be forgotten when it
 * is taken again.
 *
 * It is an OFD lock of the whole file, so it goes with the last descriptor: a server that is killed
 * gives it back by that.  Whoever waits for another one to hand the file over has it open without.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "block/backend.h"

/*
 * A server that was killed has its files locked for a moment after it has ended, because its
 * io_uring closes them by and by: whoever is started in its place waits that long.
 */
#define LOCK_TRIES   50
#define LOCK_WAIT_NS 10000000

int file_lock(int fd, bool shared, bool wait)
{
	struct flock fl = {.l_type = shared ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
	struct timespec pause = {.tv_nsec = LOCK_WAIT_NS};
	int tries = wait ? LOCK_TRIES : 0;

	for (int i = 0; fcntl(fd, F_OFD_SETLK, &fl); i++) {
		/* A file system without locks. */
		if (errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS)
			return 0;
		if (errno != EAGAIN && errno != EACCES)
			return -errno;
		if (i == tries)
			return -EBUSY;
		nanosleep(&pause, NULL);
	}
	return 0;
}

int file_unlock(int fd)
{
	struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	if (!fcntl(fd, F_OFD_SETLK, &fl) || errno == ENOLCK || errno == EOPNOTSUPP ||
	    errno == ENOSYS)
		return 0;
	return -errno;
}

void file_close_locked(int fd)
{
	file_unlock(fd);
	close(fd);
}

int file_take(int fd, unsigned flags, bool readonly, bool foreign)
{
	int rc = file_lock(fd, readonly, !(flags & BLOCK_NOWAIT));

	/* The machine that had it until now may be another one.  Advice: with files of this
	 * machine's disks there is nothing to be dropped, and what network file systems and
	 * O_DIRECT need the lock has done. */
	if (!rc && foreign)
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return rc;
}

int64_t file_next_data(int fd, uint64_t offset)
{
	off_t at = lseek(fd, (off_t)offset, SEEK_DATA);

	if (at >= 0)
		return at;
	if (errno == ENXIO)
		return INT64_MAX; /* nothing but holes */
	return errno == EINVAL || errno == EOPNOTSUPP ? (int64_t)offset : -errno;
}
