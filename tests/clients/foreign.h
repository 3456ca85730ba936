/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the stand-ins for other projects' vfio-user clients share (foreign_*.c).  Each sends the
 * messages of that client, in its order, and takes the answers as that client takes them: as many
 * bytes, with as much room for descriptors.  The programs themselves are not here.
 *
 * A client runs in a process of its own.  What does not hold ends that process, with a message; no
 * wait is for a time, but each ends after WIRE_PATIENCE.
 */
#ifndef TESTS_CLIENTS_FOREIGN_H
#define TESTS_CLIENTS_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include "support/wire_client.h"

#define FOREIGN_PAGE   4096ul
#define FOREIGN_CONFIG 7u
#define FOREIGN_MASTER 6u /* COMMAND: memory and bus mastering */

#define NEED(ok)       foreign_need(!!(ok), #ok, __FILE__, __LINE__)
void foreign_need(int ok, const char *what, const char *file, int line);

/* ---- a socket, as others use theirs ---- */

int foreign_connect(const char *path);
/* All of it in one sendmsg(). */
void foreign_send(int fd, const struct iovec *iov, int n, const int *fds, unsigned nfds);
/* Exactly @n bytes, and no room for descriptors: any would be lost. */
void foreign_read(int fd, void *data, size_t n);
/* One recvmsg() of at most @n bytes with room for @max descriptors (0: no control buffer at all).
 * Returns how many came; @flags: what the kernel said of it (MSG_CTRUNC). */
unsigned foreign_receive(int fd, void *data, size_t n, int *fds, unsigned max, int *flags);
/* A reply to @command with @id, no error, @size bytes in all. */
void foreign_check(const struct wire_header *head, uint16_t id, unsigned command, size_t size);
/* The end of a connection that the server is told of, or has closed. */
bool foreign_quiet(int fd);

/* ---- memory that the device reaches ---- */

struct foreign_memory {
	int fd;
	uint8_t *at; /* mapped, shared */
	uint64_t iova, size;
};

/* A memfd, or with @regular a file of the directory for temporary ones, that has no name any more.
 */
struct foreign_memory foreign_memory(uint64_t iova, uint64_t size, bool regular);
void foreign_memory_free(struct foreign_memory *m);

/* ---- the driver of the NVMe controller that each has behind it ---- */

struct foreign_nvme {
	void *client;
	/* BAR 0 by messages, as the client does that. */
	void (*read)(void *client, uint32_t offset, void *data, uint32_t n);
	void (*write)(void *client, uint32_t offset, const void *data, uint32_t n);
	/* The second page of BAR 0, mapped; NULL: by write(). */
	volatile uint32_t *doorbells;
	/* Interrupts of the admin and of the I/O queue; -1: it looks into memory. */
	int admin_irq, io_irq;
	unsigned vector;                     /* of the I/O queue */
	const struct foreign_memory *queues; /* its first four pages are the queues */
	uint64_t data_iova;                  /* three pages */
	uint8_t *data;
	/* its own */
	unsigned tail[2], head[2], phase[2];
};

/* Enabled, with admin queues of 16; it must not be already. */
void foreign_nvme_enable(struct foreign_nvme *n);
/* Identify Controller. */
void foreign_nvme_identify(struct foreign_nvme *n);
/* An I/O queue pair, and pages written, read back and compared, twice around the queue; @seed: what
 * with. */
void foreign_nvme_io(struct foreign_nvme *n, uint8_t seed);
/* CC.EN off, and off it is. */
void foreign_nvme_disable(struct foreign_nvme *n);
/* A normal shutdown, and its end. */
void foreign_nvme_shutdown(struct foreign_nvme *n);

/* ---- the clients ---- */

/* @path: a socket; @mapped: it must offer the doorbells for mapping. */
void foreign_cloud_hypervisor(const char *path, bool mapped);
void foreign_cloud_hypervisor_first(const char *path, bool mapped);
void foreign_spdk(const char *path, bool mapped);
void foreign_sample(const char *path, bool mapped);

#endif
