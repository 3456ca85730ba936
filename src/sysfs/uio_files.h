/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files uioN, which are /dev/uioN to programs: what fuse.c hands on for nodes of type
 * SYSFS_UIO. In the thread that serves the file system, without the lock.
 */
#ifndef UVFIO_SYSFS_UIO_FILES_H
#define UVFIO_SYSFS_UIO_FILES_H

#include "sysfs/fuse.h"

struct job;

void uio_on_open(struct sysfs *fs, fuse_req_t req, const struct sysfs_node *node);
void uio_on_read(struct sysfs *fs, fuse_req_t req, size_t size, const struct fuse_file_info *fi);
void uio_on_write(struct sysfs *fs, fuse_req_t req, fuse_ino_t ino, const void *buf, size_t size,
		  const struct fuse_file_info *fi);
void uio_on_poll(struct sysfs *fs, fuse_req_t req, const struct fuse_file_info *fi,
		 struct fuse_pollhandle *handle);
void uio_on_release(struct sysfs *fs, fuse_ino_t ino, const struct fuse_file_info *fi);

/* Answer the job of an open: @result < 0, or the file is the job's. */
void uio_answer_open(struct job *job, ssize_t result);
/* Something may have changed: tell those who wait for it. */
void uio_look(struct sysfs *fs);
/* Those who were interrupted get EINTR. */
void uio_answer_interrupted(struct sysfs *fs);

/* @wake: an eventfd that makes the thread call uio_look(); the caller's. */
int uio_files_init(struct sysfs *fs, int wake);
/* Release all; nobody serves any more. */
void uio_files_fini(struct sysfs *fs);

#endif
