/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/xfer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- peers ---- */

void iommu_peer_init(struct iommu_peer *peer, const struct iommu_peer_ops *ops, uint32_t max_len,
		     uint32_t max_inflight)
{
	pthread_condattr_t attr;

	assert(max_len && max_inflight);
	*peer = (struct iommu_peer){
		.ops = ops,
		.max_len = max_len,
		.max_inflight = max_inflight,
		.max_bytes = IOMMU_PEER_INFLIGHT_BYTES,
		.refs = 1,
	};
	pthread_mutex_init(&peer->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&peer->ended, &attr);
	pthread_condattr_destroy(&attr);
	TAILQ_INIT(&peer->waiting);
	TAILQ_INIT(&peer->started);
}

void iommu_peer_ref(struct iommu_peer *peer)
{
	__atomic_fetch_add(&peer->refs, 1, __ATOMIC_RELAXED);
}

bool iommu_peer_tryref(struct iommu_peer *peer)
{
	uint32_t refs = __atomic_load_n(&peer->refs, __ATOMIC_RELAXED);

	while (refs)
		if (__atomic_compare_exchange_n(&peer->refs, &refs, refs + 1, true,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
	return false;
}

void iommu_peer_unref(struct iommu_peer *peer)
{
	if (__atomic_sub_fetch(&peer->refs, 1, __ATOMIC_ACQ_REL))
		return;
	assert(TAILQ_EMPTY(&peer->waiting) && TAILQ_EMPTY(&peer->started) && !peer->inflight);
	pthread_cond_destroy(&peer->ended);
	pthread_mutex_destroy(&peer->lock);
	peer->ops->release(peer);
}

/* ---- users ---- */

void iommu_user_init(struct iommu_user *user, struct uvfio_ctx *ctx)
{
	*user = (struct iommu_user){.ctx = ctx};
	pthread_mutex_init(&user->lock, NULL);
	pthread_cond_init(&user->posted, NULL);
	TAILQ_INIT(&user->xfers);
}

void iommu_user_fini(struct iommu_user *user)
{
	assert(TAILQ_EMPTY(&user->xfers));
	pthread_cond_destroy(&user->posted);
	pthread_mutex_destroy(&user->lock);
}

/* ---- the end of a transfer ---- */

static void part_free(struct xfer_part *part)
{
	free(part->msg.data);
	free(part);
}

static void free_parts(struct xfer_parts *parts)
{
	struct xfer_part *part;

	while ((part = TAILQ_FIRST(parts))) {
		TAILQ_REMOVE(parts, part, link);
		part_free(part);
	}
}

static void xfer_free(struct iommu_xfer *x)
{
	struct xfer_leg *leg;

	while ((leg = x->legs)) {
		x->legs = leg->next;
		iommu_peer_unref(leg->peer);
		free(leg);
	}
	free_parts(&x->parts);
	free(x);
}

/* [work context] */
static void finish(struct uvfio_work *work)
{
	struct iommu_xfer *x = (struct iommu_xfer *)work;
	void (*done)(void *arg, int status, const struct iommu_fault *fault) = x->done;
	struct iommu_fault fault = x->fault;
	int status = x->status;
	void *arg = x->arg;
	struct xfer_part *part;

	pthread_mutex_lock(&x->user->lock);
	TAILQ_REMOVE(&x->user->xfers, x, link);
	pthread_mutex_unlock(&x->user->lock);
	TAILQ_FOREACH(part, &x->parts, link)
	{
		memcpy(part->buf, part->msg.data, part->msg.len);
	}
	xfer_free(x);
	done(arg, status, &fault);
}

/* One of the things that @x waits for has ended.  The user's mutex. */
static void one_less(struct iommu_xfer *x)
{
	struct iommu_user *user = x->user;

	if (--x->pending)
		return;
	uvfio_ctx_post(user->ctx, &x->work);
	if (!--user->unposted)
		pthread_cond_broadcast(&user->posted);
}

static enum iommu_fault_reason reason_of(int *status)
{
	switch (*status) {
	case -EFAULT:
		return IOMMU_FAULT_UNMAPPED;
	case -EPERM:
		return IOMMU_FAULT_BUS_MASTER;
	case -ENODEV:
		*status = -EIO;
		return IOMMU_FAULT_REVOKED;
	default:
		*status = -EIO;
		return IOMMU_FAULT_GONE;
	}
}

/* @part ends for its transfer; it is in no list.  Frees it unless it is still with the peer
 * (@keep), or has data for the device.  The peer's mutex. */
static void end_part(struct xfer_part *part, int status, bool keep)
{
	struct iommu_xfer *x = part->xfer;
	struct iommu_user *user = x->user;
	struct xfer_leg *leg = x->legs;

	part->xfer = NULL;
	mapping_put(part->m, part->phase);
	pthread_mutex_lock(&user->lock);
	while (leg->peer != part->peer)
		leg = leg->next;
	leg->parts--;
	if (status && (!x->status || part->iova < x->fault.iova)) {
		x->fault.reason = reason_of(&status);
		x->fault.len += x->fault.iova - part->iova;
		x->fault.iova = part->iova;
		x->status = status;
	} else if (!status && !part->msg.write) {
		TAILQ_INSERT_TAIL(&x->parts, part, link);
		keep = true;
	}
	one_less(x);
	pthread_mutex_unlock(&user->lock);
	if (!keep)
		part_free(part);
}

/* ---- messages ---- */

/* Start what may be started.  The peer's mutex. */
static void pump(struct iommu_peer *peer)
{
	struct xfer_part *part;

	while (!peer->dead && peer->inflight < peer->max_inflight &&
	       (part = TAILQ_FIRST(&peer->waiting))) {
		struct iommu_peer_msg *msg = &part->msg;
		int ret = -ENOMEM;

		if (peer->inflight && peer->inflight_bytes + msg->len > peer->max_bytes)
			break;
		TAILQ_REMOVE(&peer->waiting, part, link);
		msg->data = malloc(msg->len);
		if (msg->data) {
			if (msg->write)
				memcpy(msg->data, part->buf, msg->len);
			ret = peer->ops->start(peer, msg);
		}
		if (ret) {
			end_part(part, ret, false);
			continue;
		}
		iommu_peer_ref(peer);
		peer->inflight++;
		peer->inflight_bytes += msg->len;
		TAILQ_INSERT_TAIL(&peer->started, part, link);
	}
}

void iommu_peer_done(struct iommu_peer *peer, struct iommu_peer_msg *msg, int status)
{
	struct xfer_part *part = (struct xfer_part *)msg;

	pthread_mutex_lock(&peer->lock);
	assert(peer->inflight);
	peer->inflight--;
	peer->inflight_bytes -= msg->len;
	peer->stalled = false;
	if (part->xfer) {
		TAILQ_REMOVE(&peer->started, part, link);
		end_part(part, status > 0 ? -EIO : status, false);
	} else {
		part_free(part);
	}
	pump(peer);
	if (peer->waiters)
		pthread_cond_broadcast(&peer->ended);
	pthread_mutex_unlock(&peer->lock);
	iommu_peer_unref(peer);
}

/* ---- abandoning ---- */

/* What is abandoned: the parts of a mapping, of a user, or all. */
struct which {
	const struct iommu_mapping *m;
	const struct iommu_user *user;
};

static bool meant(const struct xfer_part *part, const struct which *w)
{
	return (!w->m || part->m == w->m) && (!w->user || part->xfer->user == w->user);
}

static bool any_meant(const struct xfer_parts *parts, const struct which *w)
{
	const struct xfer_part *part;

	TAILQ_FOREACH(part, parts, link)
	{
		if (meant(part, w))
			return true;
	}
	return false;
}

/* Give what was started the time that it may have.  The peer's mutex. */
static void let_settle(struct iommu_peer *peer, const struct which *w)
{
	struct timespec ts;

	if (!peer->settle_ms || peer->stalled || !any_meant(&peer->started, w))
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += (long)peer->settle_ms * 1000000;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	peer->waiters++;
	while (any_meant(&peer->started, w) && !peer->stalled) {
		if (pthread_cond_timedwait(&peer->ended, &peer->lock, &ts) == ETIMEDOUT)
			peer->stalled = any_meant(&peer->started, w);
	}
	peer->waiters--;
}

static void abandon_list(struct iommu_peer *peer, struct xfer_parts *parts, const struct which *w,
			 int status, bool started)
{
	struct xfer_part *part, *next;

	for (part = TAILQ_FIRST(parts); part; part = next) {
		next = TAILQ_NEXT(part, link);
		if (!meant(part, w))
			continue;
		TAILQ_REMOVE(parts, part, link);
		if (started)
			peer->ops->cancel(peer, &part->msg);
		end_part(part, status, started);
	}
}

static void abandon(struct iommu_peer *peer, const struct which *w, int status)
{
	pthread_mutex_lock(&peer->lock);
	abandon_list(peer, &peer->waiting, w, status, false);
	let_settle(peer, w);
	abandon_list(peer, &peer->started, w, status, true);
	pthread_mutex_unlock(&peer->lock);
}

void iommu_peer_dead(struct iommu_peer *peer)
{
	pthread_mutex_lock(&peer->lock);
	peer->dead = true;
	pthread_mutex_unlock(&peer->lock);
	abandon(peer, &(struct which){0}, -EIO);
}

bool xfer_abandon_mapping(struct iommu_mapping *m)
{
	const struct which w = {.m = m};
	struct iommu_peer *last = NULL;

	if (m->nr == 1) {
		last = m->file->peer;
		if (last)
			abandon(last, &w, -EFAULT);
		return last != NULL;
	}
	for (uint32_t i = 0; i < m->nr; i++) {
		struct iommu_peer *peer = m->pieces[i].file->peer;

		if (peer && peer != last)
			abandon(peer, &w, -EFAULT);
		last = peer ? peer : last;
	}
	return last != NULL;
}

/* Peers with parts of @user that have not ended, each once, with a reference. */
static unsigned peers_of(struct iommu_user *user, struct iommu_peer **peers, unsigned max)
{
	struct iommu_xfer *x;
	unsigned n = 0, i;

	pthread_mutex_lock(&user->lock);
	TAILQ_FOREACH(x, &user->xfers, link)
	{
		for (const struct xfer_leg *leg = x->legs; leg && n < max; leg = leg->next) {
			for (i = 0; i < n && peers[i] != leg->peer; i++)
				;
			if (i < n || !leg->parts)
				continue;
			iommu_peer_ref(leg->peer);
			peers[n++] = leg->peer;
		}
	}
	pthread_mutex_unlock(&user->lock);
	return n;
}

void iommu_user_abandon(struct iommu_user *user, int status)
{
	const struct which w = {.user = user};
	struct iommu_peer *peers[16];
	unsigned n;

	while ((n = peers_of(user, peers, 16))) {
		while (n--) {
			abandon(peers[n], &w, status);
			iommu_peer_unref(peers[n]);
		}
	}
	pthread_mutex_lock(&user->lock);
	while (user->unposted)
		pthread_cond_wait(&user->posted, &user->lock);
	pthread_mutex_unlock(&user->lock);
}

/* ---- gathering and starting ---- */

static struct xfer_leg *leg_of(struct iommu_xfer *x, struct iommu_peer *peer)
{
	struct xfer_leg *leg;

	for (leg = x->legs; leg; leg = leg->next)
		if (leg->peer == peer)
			return leg;
	leg = calloc(1, sizeof(*leg));
	if (!leg)
		return NULL;
	iommu_peer_ref(peer);
	leg->peer = peer;
	leg->next = x->legs;
	x->legs = leg;
	return leg;
}

int xfer_add(struct iommu_xfer **xfer, struct iommu_mapping *m, unsigned phase,
	     struct iommu_peer *peer, uint64_t address, uint64_t iova, uint8_t *buf, uint64_t len,
	     bool write)
{
	struct iommu_xfer *x = *xfer;
	struct xfer_leg *leg;

	if (!x) {
		x = *xfer = calloc(1, sizeof(*x));
		if (!x)
			return -ENOMEM;
		TAILQ_INIT(&x->parts);
	}
	leg = leg_of(x, peer);
	if (!leg)
		return -ENOMEM;
	while (len) {
		struct xfer_part *part = NULL;
		uint32_t n = len < peer->max_len ? (uint32_t)len : peer->max_len;

		if (x->nr_parts < XFER_PARTS_MAX)
			part = calloc(1, sizeof(*part));
		if (!part)
			return -ENOMEM;
		*part = (struct xfer_part){.msg = {.address = address, .len = n, .write = write},
					   .xfer = x,
					   .peer = peer,
					   .m = m,
					   .phase = phase,
					   .iova = iova,
					   .buf = buf};
		mapping_ref(m, phase);
		TAILQ_INSERT_TAIL(&x->parts, part, link);
		x->nr_parts++;
		leg->parts++;
		address += n;
		iova += n;
		buf += n;
		len -= n;
	}
	return 0;
}

void xfer_discard(struct iommu_xfer *x)
{
	struct xfer_part *part;

	if (!x)
		return;
	TAILQ_FOREACH(part, &x->parts, link)
	{
		mapping_put(part->m, part->phase);
	}
	xfer_free(x);
}

void xfer_start(struct iommu_xfer *x, struct iommu_user *user, uint64_t iova, uint64_t len,
		bool write, void (*done)(void *arg, int status, const struct iommu_fault *fault),
		void *arg)
{
	struct xfer_parts parts = TAILQ_HEAD_INITIALIZER(parts);
	struct xfer_part *part;

	TAILQ_CONCAT(&parts, &x->parts, link);
	x->work.fn = finish;
	x->user = user;
	x->fault = (struct iommu_fault){.iova = iova, .len = len, .write = write};
	x->done = done;
	x->arg = arg;
	x->pending = x->nr_parts + 1; /* and this function */
	pthread_mutex_lock(&user->lock);
	TAILQ_INSERT_TAIL(&user->xfers, x, link);
	user->unposted++;
	pthread_mutex_unlock(&user->lock);
	while ((part = TAILQ_FIRST(&parts))) {
		struct iommu_peer *peer = part->peer;

		pthread_mutex_lock(&peer->lock);
		for (; part && part->peer == peer; part = TAILQ_FIRST(&parts)) {
			TAILQ_REMOVE(&parts, part, link);
			if (peer->dead)
				end_part(part, -EIO, false);
			else if (mapping_is_dead(part->m))
				end_part(part, -EFAULT, false);
			else
				TAILQ_INSERT_TAIL(&peer->waiting, part, link);
		}
		pump(peer);
		pthread_mutex_unlock(&peer->lock);
	}
	pthread_mutex_lock(&user->lock);
	one_less(x);
	pthread_mutex_unlock(&user->lock);
}
