/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MIG_DATA_READ and MIG_DATA_WRITE: the data of the device's migration (E.3).
 *
 * The protocol has no files of data: a session that begins by DEVICE_FEATURE is the connection's,
 * and these two are about the latest one.  An answer that is shorter than what was asked for says
 * that there is no more, for good or for now: so it is filled up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "wire/wire_private.h"

#define HEAD sizeof(struct vfio_user_mig_data)

/* @len bytes of @buf, behind its head, are for the next read; takes it. */
static void keep(struct wire_conn *conn, uint8_t *buf, size_t len)
{
	free(conn->migration_kept);
	conn->migration_kept = buf;
	conn->migration_at = HEAD;
	conn->migration_end = HEAD + len;
}

static void drop_kept(struct wire_conn *conn)
{
	keep(conn, NULL, 0);
}

int wire_give_migration(struct vfio_client *client, struct vfio_migration_file *file, int32_t *fd)
{
	struct wire_client *c =
		(struct wire_client *)((char *)client - offsetof(struct wire_client, client));

	wire_migration_end(c->conn);
	c->conn->migration = file;
	*fd = -1;
	return 0;
}

void wire_migration_end(struct wire_conn *conn)
{
	if (conn->migration)
		vfio_migration_release(conn->migration);
	conn->migration = NULL;
	drop_kept(conn);
}

/*
 * All of @len into **@buf, behind the head, but at the end and where there is nothing for now.  An
 * error is the answer, also when bytes came before it, which would else be taken for the last ones:
 * they are kept, and *@buf with them, which is NULL then.
 */
static ssize_t read_whole(struct wire_conn *conn, uint8_t **buf, size_t len)
{
	size_t left = conn->migration_kept ? conn->migration_end - conn->migration_at : 0;
	size_t taken = left < len ? left : len, done = taken;
	uint8_t *bytes = *buf + HEAD;
	ssize_t n;

	if (taken)
		memcpy(bytes, conn->migration_kept + conn->migration_at, taken);
	do { /* also of nothing, which says whether the session stands */
		n = vfio_migration_read(conn->migration, bytes + done, len - done);
		if (n > 0)
			done += (size_t)n;
	} while (n > 0 && done < len);
	if (n < 0 && n != -ENOMSG) {
		if (done == taken)
			return n; /* and what was kept still is */
		keep(conn, *buf, done);
		*buf = NULL;
		return n;
	}
	conn->migration_at += taken;
	if (taken == left)
		drop_kept(conn);
	return (ssize_t)done;
}

static void job_mig_read(struct wire_conn *conn)
{
	struct wire_msg *msg = conn->job_msg;
	struct vfio_user_mig_data head;
	ssize_t n = -ENOMEM;
	uint8_t *buf;

	memcpy(&head, msg->payload, sizeof(head));
	buf = malloc(HEAD + head.size);
	if (buf)
		n = conn->migration ? read_whole(conn, &buf, head.size) : -EINVAL;
	if (n < 0) {
		wire_reply_error(conn, msg, (int)-n);
	} else {
		head.size = (uint32_t)n;
		head.argsz = (uint32_t)(HEAD + (size_t)n);
		memcpy(buf, &head, sizeof(head));
		wire_reply(conn, msg, buf, HEAD + (size_t)n, NULL, 0, NULL, 0);
	}
	free(buf);
}

void wire_do_mig_read(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_mig_data head;

	memcpy(&head, msg->payload, sizeof(head));
	if (head.size > WIRE_XFER_MAX || head.size > conn->max_xfer || head.argsz < HEAD ||
	    head.argsz - HEAD < head.size)
		wire_reply_error(conn, msg, EINVAL);
	else
		wire_work(conn, msg, job_mig_read);
}

static void job_mig_write(struct wire_conn *conn)
{
	struct wire_msg *msg = conn->job_msg;
	ssize_t n = conn->migration ? vfio_migration_write(conn->migration, msg->payload + HEAD,
							   msg->len - HEAD)
				    : -EINVAL;

	if (n < 0)
		wire_reply_error(conn, msg, (int)-n);
	else
		wire_reply(conn, msg, NULL, 0, NULL, 0, NULL, 0);
}

void wire_do_mig_write(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_mig_data head;

	memcpy(&head, msg->payload, sizeof(head));
	/* argsz is for the answer, which has nothing. */
	if (head.size != msg->len - HEAD)
		wire_reply_error(conn, msg, EINVAL);
	else
		wire_work(conn, msg, job_mig_write);
}
