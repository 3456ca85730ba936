/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors: what is behind one, and packets (SOCK_SEQPACKET) that take one along.  Any thread;
 * nothing here keeps a state.
 */
#ifndef UVFIO_BASE_FD_H
#define UVFIO_BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Whether @fd is an eventfd.  Asks nothing of whoever is behind it. */
bool uvfio_is_eventfd(int fd);

/* The number by which the kernel tells eventfds apart (Linux 5.2), counted from 1; 0: @fd is none,
 * or /proc cannot be read. */
unsigned long uvfio_eventfd_id(int fd);

/* fstat(2) by the system call of this name.  The C library's may be one that takes a path, too,
 * which a confined process may not have. */
int uvfio_fstat(int fd, struct stat *st);
/* The same, but a file system that is served by a program or over a network is not asked: the size
 * may be an old one.  (Before Linux 6.11 a confined process cannot but ask.) */
int uvfio_fstat_unasked(int fd, struct stat *st);

/* One packet of the @nr pieces; @fd rides along, -1: none.  0 or -errno. */
int uvfio_packet_send(int sock, const struct iovec *iov, size_t nr, int fd);
/*
 * The next packet, into the @nr pieces; what is longer is cut.  Its length, 0 when the other side
 * has gone, or -errno: -EPROTO when it is shorter than @least.  *@fd: the descriptor that came
 * along (close-on-exec, the caller's), or -1; @fd may be NULL: what comes along is dropped, without
 * waiting for whoever is behind it.
 */
ssize_t uvfio_packet_receive(int sock, const struct iovec *iov, size_t nr, size_t least, int *fd);

#endif
