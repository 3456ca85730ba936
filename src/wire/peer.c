/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory without an fd: DMA_READ and DMA_WRITE messages to the client (iommu/peer.h).
 *
 * Theory of operation.  The core hands in messages (start) and takes them back (cancel); each that
 * was sent has a slot, whose number is part of its id, until the client answers.  Answers may come
 * in any order; one that matches no slot ends the connection.
 *
 * Two layouts are in use (protocol.h), and a client does not say which is its.  The sizes of
 * messages are the same in both; data are at byte 16 of the payload in one and at byte 12 in the
 * other.  So the first answers to DMA_READ tell: what is at byte 12 is the upper half of the count
 * (0) in one, and data in the other; what is in the last four bytes is data in one, and nothing (0)
 * in the other. If both are 0 but something between is not, the same is asked for again, only up to
 * the last byte that is not 0, which must then be in the last four or show the other layout.  An
 * answer of zeros only means the same in both, and tells nothing; the next one will.  A device
 * reads what it is to do before it writes, so this is settled by then; if not, what is to be
 * overwritten is read first.  While it is not settled, one message is out at a time.
 *
 *      free ──start()──▶ SENT ──answer──▶ free          (held while another one is out, unsettled)
 *                         │ ▲
 *           not conclusive▼ │settled: ask anew
 *                        PROBE
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "wire/wire_private.h"

#define SLOT_BITS 5
static_assert(1u << SLOT_BITS == WIRE_DMA_MSGS, "a slot's number fits");

enum layout { LAYOUT_UNKNOWN, LAYOUT_64, LAYOUT_32 };
static_assert(LAYOUT_32 == WIRE_PEER_LAYOUT_MAX, "all can be handed over");
#define DATA_AT(layout) ((layout) == LAYOUT_32 ? 12u : 16u)

enum slot_state { SLOT_FREE, SLOT_SENT, SLOT_PROBE };

struct slot {
	enum slot_state state;
	struct iommu_peer_msg *msg;
	uint16_t id;
	uint32_t probe_len; /* bytes */
	bool conclusive;    /* this probe */
	bool cancelled;     /* nobody wants it any more: it is not asked for again */
};

struct wire_peer {
	struct iommu_peer iommu;
	pthread_mutex_t lock;
	struct wire_conn *conn; /* NULL: closed */
	struct slot slots[WIRE_DMA_MSGS];
	unsigned sent;
	uint16_t turn;
	enum layout layout;
	struct iommu_peer_msg *held, **held_last; /* through ->user[0] */
	struct iommu_peer_msg *ended;             /* taken back; through ->user[0] */
};

static struct wire_peer *of_iommu(struct iommu_peer *iommu)
{
	return (struct wire_peer *)((char *)iommu - offsetof(struct wire_peer, iommu));
}

/* ---- sending; peer->lock is held ---- */

struct head {
	struct vfio_user_header hdr;
	struct vfio_user_dma_access access;
};
static_assert(sizeof(struct head) == 32, "as specified");

static struct wire_stream *stream_of(struct wire_peer *peer)
{
	return peer->conn->twin_socket ? &peer->conn->twin : &peer->conn->stream;
}

/* A DMA_WRITE as QEMU 10.1 reads it: the data four bytes early, and four more at the end. */
static int send_write32(struct wire_peer *peer, struct iommu_peer_msg *msg, const struct head *head)
{
	size_t early = sizeof(*head) - 4, len = sizeof(*head) + msg->len;
	uint8_t *buf = calloc(1, len);
	int ret;

	if (!buf)
		return -ENOMEM;
	memcpy(buf, head, early);
	memcpy(buf + early, msg->data, msg->len);
	ret = wire_stream_dma(stream_of(peer), msg, buf, len, NULL, 0);
	free(buf);
	return ret;
}

static int send_slot(struct wire_peer *peer, struct slot *slot)
{
	struct iommu_peer_msg *msg = slot->msg;
	bool write = msg->write && slot->state != SLOT_PROBE;
	uint32_t len = slot->state == SLOT_PROBE ? slot->probe_len : msg->len;
	struct head head = {
		.hdr = {.command = write ? VFIO_USER_DMA_WRITE : VFIO_USER_DMA_READ,
			.size = (uint32_t)sizeof(head) + (write ? len : 0)},
		.access = {.address = msg->address, .count = len},
	};
	int ret;

	/* A new id for each, so that a second answer to the last one matches nothing. */
	slot->id = (uint16_t)((unsigned)(slot - peer->slots) | ++peer->turn << SLOT_BITS);
	head.hdr.id = slot->id;
	if (write && peer->layout == LAYOUT_32)
		ret = send_write32(peer, msg, &head);
	else
		ret = wire_stream_dma(stream_of(peer), msg, &head, sizeof(head),
				      write ? msg->data : NULL, write ? len : 0);
	if (ret > 0)
		wire_conn_output(peer->conn);
	return ret < 0 ? ret : 0;
}

static void free_slot(struct wire_peer *peer, struct slot *slot)
{
	slot->state = SLOT_FREE;
	slot->msg = NULL;
	peer->sent--;
}

static int send_msg(struct wire_peer *peer, struct iommu_peer_msg *msg)
{
	struct slot *slot = peer->slots;
	int ret;

	while (slot->state != SLOT_FREE)
		slot++; /* there is one: the core has no more out than max_inflight */
	slot->msg = msg;
	slot->state = SLOT_SENT;
	slot->conclusive = false;
	slot->cancelled = false;
	peer->sent++;
	msg->user[1] = slot;
	if (msg->write && peer->layout == LAYOUT_UNKNOWN) {
		slot->state = SLOT_PROBE;
		slot->probe_len = msg->len;
	}
	ret = send_slot(peer, slot);
	if (ret)
		free_slot(peer, slot);
	return ret;
}

/* ---- the core's side ---- */

static void hold(struct wire_peer *peer, struct iommu_peer_msg *msg)
{
	msg->user[0] = msg->user[1] = NULL;
	*peer->held_last = msg;
	peer->held_last = (struct iommu_peer_msg **)&msg->user[0];
}

static bool unhold(struct wire_peer *peer, struct iommu_peer_msg *msg)
{
	struct iommu_peer_msg **p = &peer->held;

	while (*p && *p != msg)
		p = (struct iommu_peer_msg **)&(*p)->user[0];
	if (!*p)
		return false;
	*p = msg->user[0];
	if (!*p)
		peer->held_last = p;
	return true;
}

static int start(struct iommu_peer *iommu, struct iommu_peer_msg *msg)
{
	struct wire_peer *peer = of_iommu(iommu);
	int ret = 0;

	pthread_mutex_lock(&peer->lock);
	if (!peer->conn)
		ret = -EPIPE;
	else if (peer->layout == LAYOUT_UNKNOWN && (peer->sent || peer->held))
		hold(peer, msg);
	else
		ret = send_msg(peer, msg);
	pthread_mutex_unlock(&peer->lock);
	return ret;
}

static void cancel(struct iommu_peer *iommu, struct iommu_peer_msg *msg)
{
	struct wire_peer *peer = of_iommu(iommu);
	struct slot *slot;
	bool ended = false;

	pthread_mutex_lock(&peer->lock);
	slot = msg->user[1];
	if (peer->conn && slot && slot->msg == msg) {
		ended = wire_stream_dma_cancel(stream_of(peer), msg);
		if (ended)
			free_slot(peer, slot);
		else
			slot->cancelled = true;
	} else if (peer->conn) {
		ended = unhold(peer, msg);
	}
	if (ended) {
		msg->user[0] = peer->ended;
		peer->ended = msg;
		uvfio_ctx_post(peer->conn->ctx, &peer->conn->ended_work);
	}
	pthread_mutex_unlock(&peer->lock);
}

static void release(struct iommu_peer *iommu)
{
	struct wire_peer *peer = of_iommu(iommu);

	pthread_mutex_destroy(&peer->lock);
	free(peer);
}

static const struct iommu_peer_ops ops = {.start = start, .cancel = cancel, .release = release};

struct wire_peer *wire_peer_new(struct wire_conn *conn, uint32_t max_xfer)
{
	struct wire_peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return NULL;
	pthread_mutex_init(&peer->lock, NULL);
	peer->conn = conn;
	peer->held_last = &peer->held;
	iommu_peer_init(&peer->iommu, &ops, max_xfer < WIRE_DMA_LEN ? max_xfer : WIRE_DMA_LEN,
			WIRE_DMA_MSGS);
	peer->iommu.max_bytes = WIRE_DMA_BYTES;
	return peer;
}

int wire_peer_layout(struct wire_peer *peer)
{
	int ret;

	pthread_mutex_lock(&peer->lock);
	ret = peer->sent || peer->held ? -EBUSY : (int)peer->layout;
	pthread_mutex_unlock(&peer->lock);
	return ret;
}

void wire_peer_set_layout(struct wire_peer *peer, unsigned layout)
{
	pthread_mutex_lock(&peer->lock);
	if (layout <= LAYOUT_32)
		peer->layout = (enum layout)layout;
	pthread_mutex_unlock(&peer->lock);
}

struct iommu_peer *wire_peer_iommu(struct wire_peer *peer)
{
	return &peer->iommu;
}

/* End each message of a list. */
static void end_list(struct wire_peer *peer, struct iommu_peer_msg *list, int status)
{
	while (list) {
		struct iommu_peer_msg *msg = list;

		list = msg->user[0];
		iommu_peer_done(&peer->iommu, msg, status);
	}
}

/* Those that were held, one after the other until one is out, or all when the layout is settled.
 * Returns a list of those that could not be sent. */
static struct iommu_peer_msg *send_held(struct wire_peer *peer)
{
	struct iommu_peer_msg *failed = NULL;

	while (peer->held && (peer->layout != LAYOUT_UNKNOWN || !peer->sent)) {
		struct iommu_peer_msg *msg = peer->held;

		unhold(peer, msg);
		if (send_msg(peer, msg)) {
			msg->user[0] = failed;
			failed = msg;
		}
	}
	return failed;
}

void wire_peer_ended(struct wire_peer *peer)
{
	struct iommu_peer_msg *list, *failed;

	pthread_mutex_lock(&peer->lock);
	list = peer->ended;
	peer->ended = NULL;
	failed = send_held(peer);
	pthread_mutex_unlock(&peer->lock);
	end_list(peer, list, -ECANCELED);
	end_list(peer, failed, -EIO);
}

void wire_peer_close(struct wire_peer *peer)
{
	struct iommu_peer_msg *list = NULL;

	pthread_mutex_lock(&peer->lock);
	peer->conn = NULL;
	for (unsigned i = 0; i < WIRE_DMA_MSGS; i++) {
		struct slot *slot = &peer->slots[i];

		if (slot->state == SLOT_FREE)
			continue;
		slot->msg->user[0] = list;
		list = slot->msg;
		free_slot(peer, slot);
	}
	*peer->held_last = peer->ended;
	peer->ended = peer->held;
	peer->held = NULL;
	peer->held_last = &peer->held;
	pthread_mutex_unlock(&peer->lock);
	iommu_peer_dead(&peer->iommu);
	end_list(peer, list, -EIO);
	end_list(peer, peer->ended, -EIO);
	iommu_peer_unref(&peer->iommu);
}

/* ---- answers; peer->lock is held ---- */

static bool any(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i])
			return true;
	}
	return false;
}

/* What the answer to a DMA_READ of @len bytes says of the layout.  When it is not conclusive,
 * *@last is how much of it to ask for again; 0: it is all zeros. */
static enum layout tell(const uint8_t *p, uint32_t len, uint32_t *last)
{
	*last = 0;
	if (any(p + 12, 4))
		return LAYOUT_32;
	if (any(p + 12 + len, 4))
		return LAYOUT_64;
	for (uint32_t i = len; i > 0 && !*last; i--) {
		if (p[16 + i - 1])
			*last = i;
	}
	return LAYOUT_UNKNOWN;
}

/* Is this an answer to @slot's request of @len bytes?  -EIO: not to this one. */
static int check_answer(const struct wire_msg *reply, const struct slot *slot, uint32_t len,
			bool write)
{
	struct vfio_user_dma_access a = {0};

	if (reply->hdr.flags & VFIO_USER_ERROR)
		return -EIO;
	if (write) /* some answer with a header only, some with a 32-bit count */
		len = 0;
	else if (reply->len != sizeof(a) + len)
		return -EIO;
	memcpy(&a, reply->payload, reply->len < sizeof(a) ? reply->len : sizeof(a));
	if (reply->len >= 8 && a.address != slot->msg->address)
		return -EIO;
	if (reply->len >= 12 && (uint32_t)a.count != (write ? slot->msg->len : len))
		return -EIO;
	return 0;
}

/* Ask anew for what @slot wants, now that more is known.  1, or a status. */
static int again(struct wire_peer *peer, struct slot *slot, enum slot_state state, uint32_t len)
{
	slot->state = state;
	slot->probe_len = len;
	return send_slot(peer, slot) ? -EIO : 1;
}

/* @len bytes of which the last is not 0, if the layout is as specified. */
static int ask_up_to(struct wire_peer *peer, struct slot *slot, uint32_t len)
{
	slot->conclusive = true;
	return again(peer, slot, SLOT_PROBE, len);
}

/* A probe was answered. */
static int probe_answer(struct wire_peer *peer, struct slot *slot, const struct wire_msg *reply,
			int status)
{
	uint32_t last = 0;

	if (peer->layout == LAYOUT_UNKNOWN && !status) {
		peer->layout = tell(reply->payload, slot->probe_len, &last);
		if (peer->layout == LAYOUT_UNKNOWN && slot->conclusive)
			peer->layout = LAYOUT_32; /* the last byte is not where it would be */
		else if (peer->layout == LAYOUT_UNKNOWN && last)
			return ask_up_to(peer, slot, last);
	}
	return again(peer, slot, SLOT_SENT, 0);
}

/* 1: not done yet; else the status with which the message ends. */
static int answer(struct wire_peer *peer, struct slot *slot, const struct wire_msg *reply)
{
	struct iommu_peer_msg *msg = slot->msg;
	bool probe = slot->state == SLOT_PROBE;
	uint32_t len = probe ? slot->probe_len : msg->len, last;
	int status = check_answer(reply, slot, len, msg->write && !probe);

	/* The client may have been told that the memory is unmapped: no message follows. */
	if (slot->cancelled)
		return -ECANCELED;
	if (probe)
		return probe_answer(peer, slot, reply, status);
	if (status || msg->write)
		return status;
	if (peer->layout == LAYOUT_UNKNOWN) {
		peer->layout = tell(reply->payload, len, &last);
		if (peer->layout == LAYOUT_UNKNOWN && last)
			return ask_up_to(peer, slot, last);
	}
	memcpy(msg->data, reply->payload + DATA_AT(peer->layout), len);
	return 0;
}

int wire_peer_reply(struct wire_peer *peer, struct wire_msg *reply)
{
	struct slot *slot = &peer->slots[reply->hdr.id & (WIRE_DMA_MSGS - 1)];
	struct iommu_peer_msg *msg, *failed = NULL;
	unsigned command;
	int ret;

	pthread_mutex_lock(&peer->lock);
	msg = slot->msg;
	command = msg && msg->write && slot->state == SLOT_SENT ? VFIO_USER_DMA_WRITE
								: VFIO_USER_DMA_READ;
	if (slot->state == SLOT_FREE || slot->id != reply->hdr.id ||
	    reply->hdr.command != command || wire_stream_dma_queued(stream_of(peer), msg)) {
		pthread_mutex_unlock(&peer->lock);
		return -EPROTO;
	}
	ret = answer(peer, slot, reply);
	if (ret <= 0) {
		free_slot(peer, slot);
		failed = send_held(peer);
	}
	pthread_mutex_unlock(&peer->lock);
	if (ret <= 0)
		iommu_peer_done(&peer->iommu, msg, ret);
	end_list(peer, failed, -EIO);
	return 0;
}
