/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vfio-user connection, seen from the client.
 *
 * Threads.  Any number of threads may be in vu_call() and vu_post().  One at a time has the
 * *reader role*: it receives messages, hands replies to those that wait for them and answers what
 * the server asks.  A thread that waits for its reply takes the role when nobody has it, so that a
 * single-threaded program gets its reply without a thread switch.  The connection's own thread
 * watches for the end of the connection, serves the second ("twin") socket, and takes the role for
 * good once the server can ask for memory over the main socket, because then somebody must listen
 * even when nobody calls.
 *
 * Locks: ->lock covers the calls in flight, the role and ->dead; ->send_lock makes a message one
 * piece on the socket.  Neither is taken inside the other.  What the role's owner reads into
 * (->main) is its own.
 */
#ifndef UVFIO_DRIVER_VU_H
#define UVFIO_DRIVER_VU_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>
#include <errno.h>
#include <unistd.h>
#include "driver/driver_private.h"
#include "wire/protocol.h"

#define VU_CALLS 64u /* in flight at once; more wait for a place */
/* The largest message that we take: the data of a transfer and what stands before it. */
#define VU_XFER        (1u << 20)
#define VU_MAX_MESSAGE (VU_XFER + 256)

/* Receives messages from a stream socket.  One thread at a time. */
struct vu_stream {
	int fd;
	unsigned timeout; /* seconds that the rest of a message may take, 0: any time */
	uint8_t *buf;
	size_t size, have;
	int fds[VFIO_USER_MAX_FDS]; /* came with what is in @buf */
	unsigned nr_fds;
};

/*
 * Receive one message: 0, with the header copied to *@h and the payload at ->buf + 16 until
 * vu_stream_next(); -ENOTCONN the peer is gone, -EPROTO it sent nonsense, -ETIMEDOUT.  @hint: bytes
 * to ask for at once, at least 16; what is behind the message stays for the next time.
 */
int vu_stream_receive(struct vu_stream *s, size_t hint, struct vfio_user_header *h);
/* Drop the message, and the descriptors that nobody took. */
void vu_stream_next(struct vu_stream *s, const struct vfio_user_header *h);
void vu_stream_fini(struct vu_stream *s);

/* What the two sides agreed on. */
struct vu_limits {
	unsigned max_fds;  /* that the server takes in one message */
	uint32_t max_xfer; /* bytes of data in one message */
	uint64_t max_maps;
	uint64_t page_size; /* the smallest that the server maps */
	bool write_multi;
	bool continued; /* the device goes on where it was left */
	int twin; /* index among the descriptors of the reply, or -1 */
};

/* One command.  The caller sets the first part. */
struct vu_call {
	uint16_t command;
	const void *head; /* the payload: a fixed part and data */
	size_t head_len;
	const void *data;
	size_t data_len;
	const int *fds;
	unsigned nr_fds;
	void *reply; /* where the reply's payload goes: a fixed part, and data behind it */
	size_t reply_len;
	void *reply_data;
	size_t reply_data_len;
	int *reply_fds; /* room for VFIO_USER_MAX_FDS; the caller closes them.  NULL: none wanted */

	/* Set by vu_call(). */
	size_t got; /* bytes of payload in the reply, at most reply_len + reply_data_len */
	unsigned got_fds;

	/* The connection's. */
	uint16_t id;
	bool done;
	bool asleep; /* waits for @wake: its reply, or the role */
	int status;
	pthread_cond_t wake;
};

struct vu_conn {
	struct uvfio_pci *dev; /* whose memory the server may ask for */
	struct vu_limits limits;
	unsigned timeout; /* seconds, 0: none */
	pthread_mutex_t send_lock;
	pthread_mutex_t lock;
	pthread_cond_t room;      /* a place in @calls became free */
	pthread_cond_t role_free; /* for the connection's thread */
	struct vu_call *calls[VU_CALLS];
	unsigned in_flight;
	uint16_t generation;
	bool reading;  /* somebody has the reader role */
	bool resident; /* the connection's thread has it, or will */
	bool quit;
	atomic_int dead; /* 0, or the -errno that ended it */
	struct vu_stream main, twin;
	pthread_t thread;
	bool has_thread;
	int wake_fd; /* eventfd for the thread */
	int lost_fd; /* eventfd of the device: signalled when the connection ends */
};

/* Connect to @path (NULL: take the descriptor that the device is called after) and shake hands.
 * @lost_fd is the caller's.  0 or -errno with a message. */
int vu_connect(struct uvfio_pci *dev, const char *path, int lost_fd, struct vu_conn **out,
	       struct uvfio_error *err);
/* End it: nobody is in a call. */
void vu_disconnect(struct vu_conn *c);

/* Send the command and wait for its reply: 0, the -errno of the reply, -ENOTCONN, or what ended the
 * connection meanwhile. */
int vu_call(struct vu_conn *c, struct vu_call *call);
/* Its two halves.  vu_begin(): 0, and the other half must follow, before the connection ends; or an
 * error.  @call and what it points to stay where they are in between. */
int vu_begin(struct vu_conn *c, struct vu_call *call);
int vu_end(struct vu_conn *c, struct vu_call *call);
/* Send a command without a reply. */
int vu_post(struct vu_conn *c, const struct vu_call *call);
/* From now on the connection's thread listens all the time. */
void vu_stay(struct vu_conn *c);
/* The server cannot be trusted or reached any more: every call ends with @error. */
void vu_die(struct vu_conn *c, int error);

/* vu_ahead.c: the questions about regions and interrupts are sent, and answered by vu_call_ahead(),
 * which is vu_call() for all others; what nobody wanted to know is dropped.  A question about a
 * region is found again when its argsz is VU_AHEAD_REPLY. */
#define VU_AHEAD_REPLY DRV_FIRST_INFO
struct vu_ahead;
void vu_ask_ahead(struct uvfio_pci *dev);
int vu_call_ahead(struct uvfio_pci *dev, struct vu_call *call);
void vu_forget_ahead(struct uvfio_pci *dev);

/* The way of a vfio-user device. */
struct drv_vu {
	struct vu_ahead *ahead; /* NULL but while it is opened */
	const char *path;     /* NULL: it came as a descriptor */
	struct vu_conn *conn; /* never NULL; dead after the server is gone */
	int lost_fd;
};

static inline struct vu_conn *vu_conn(const struct uvfio_pci *dev)
{
	return ((struct drv_vu *)dev->way)->conn;
}

/* The server has lied: ends the connection; -EPROTO. */
static inline int vu_lied(struct uvfio_pci *dev)
{
	vu_die(vu_conn(dev), -EPROTO);
	return -EPROTO;
}

static inline void vu_close_fds(const int *fds, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* vu_io_fds.c: see struct drv_ops. */
int vu_notify_fd(struct uvfio_pci *dev, unsigned index, uint64_t offset, unsigned size,
		 uint64_t value);
int vu_notify_areas(struct uvfio_pci *dev, unsigned index, struct drv_notify **out, unsigned *nr);

/* vu_version.c: the handshake's payloads.  vu_version_request() returns its length. */
size_t vu_version_request(char *buf, size_t size, bool twin, bool go_on);
int vu_version_parse(const uint8_t *payload, size_t len, bool twin, struct vu_limits *limits,
		     struct uvfio_error *err);

/* vu_server.c: answer what the server asks on @fd.  0, or -errno that ends the connection. */
int vu_answer(struct vu_conn *c, int fd, const struct vfio_user_header *h, uint8_t *payload,
	      size_t len);
/* Send a whole message; @c's send lock for the main socket. */
int vu_send(struct vu_conn *c, int fd, struct iovec *iov, int nr, const int *fds, unsigned nr_fds);

#endif
