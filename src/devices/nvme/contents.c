/* SPDX-License-Identifier: BSD-3-Clause */
/* The contents of namespaces are saved; see contents.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/contents.h"

#define LOOKED_AT 64u         /* pieces that it looks at, most of which may be zeroes */
#define HANDED_ON (1u << 20)  /* bytes that one call of ->save() puts, about */
#define LOOK_EACH (16u << 20) /* bytes of data, after which holes are looked for again */

static const char *const mode_names[] = {
	[NVME_CONTENTS_IDLE] = "idle",
	[NVME_CONTENTS_SAVING] = "saving",
	[NVME_CONTENTS_LOADING] = "loading",
};
static_assert(sizeof(mode_names) / sizeof(mode_names[0]) == NVME_CONTENTS_NR_MODES, "a name each");

/* ---- sessions ---- */

static void set_mode(struct nvme_contents *s, struct nvme_ctrl *c, enum nvme_contents_mode mode)
{
	if (s->mode != mode)
		uvfio_device_log(c->dev, UVFIO_LOG_DEBUG, "nvme: contents: %s → %s",
				 mode_names[s->mode], mode_names[mode]);
	s->mode = mode;
	s->session++; /* what is busy is of an earlier one */
	s->error = 0;
	s->waited = false;
	s->head = s->nr = 0;
}

struct nvme_contents *nvme_contents_get(struct nvme_ctrl *c)
{
	struct nvme_contents *s = c->contents;

	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (s)
		s->loaded = calloc(c->sub->nr_disks, 1);
	if (!s || !s->loaded) {
		free(s);
		return NULL;
	}
	for (unsigned i = 0; i < NVME_NR_PIECES; i++)
		s->pieces[i].ctrl = c;
	c->contents = s;
	return s;
}

static void free_buffers(struct nvme_contents *s)
{
	for (unsigned i = 0; i < NVME_NR_PIECES; i++) {
		free(s->pieces[i].buf);
		s->pieces[i].buf = NULL;
	}
}

void nvme_contents_free(struct nvme_ctrl *c)
{
	struct nvme_contents *s = c->contents;

	if (!s)
		return;
	assert(!s->nr_busy);
	nvme_contents_end(c);
	free_buffers(s);
	free(s->loaded);
	free(s);
	c->contents = NULL;
}

void nvme_contents_end(struct nvme_ctrl *c)
{
	struct nvme_contents *s = c->contents;

	if (!s || s->mode == NVME_CONTENTS_IDLE)
		return;
	pthread_mutex_lock(&c->sub->lock);
	for (unsigned i = 0; i < c->sub->nr_disks; i++) {
		struct nvme_disk *d = &c->sub->disks[i];

		if (d->tracker != c)
			continue;
		d->tracker = NULL;
		atomic_store(&d->tracked, false);
	}
	pthread_mutex_unlock(&c->sub->lock);
	set_mode(s, c, NVME_CONTENTS_IDLE);
	if (!s->nr_busy)
		free_buffers(s);
}

void nvme_contents_load_begin(struct nvme_ctrl *c)
{
	nvme_contents_end(c);
	set_mode(c->contents, c, NVME_CONTENTS_LOADING);
	memset(c->contents->loaded, 0, c->sub->nr_disks);
}

static int begin(struct nvme_ctrl *c)
{
	struct nvme_contents *s;
	bool any = false;
	int r = 0;

	nvme_contents_end(c);
	for (unsigned i = 0; i < c->nr_ns; i++)
		any |= nvme_contents_has(c, i);
	if (!any)
		return 0;
	s = nvme_contents_get(c);
	if (!s)
		return -ENOMEM;
	set_mode(s, c, NVME_CONTENTS_SAVING);
	s->first_pass = true;
	s->ns = s->begun = s->ended = 0;
	s->at = s->data = 0;
	s->looking = false;
	for (unsigned i = 0; i < c->nr_ns && !r; i++) {
		if (nvme_contents_has(c, i))
			r = nvme_marks_start(c, &c->sub->disks[i], block_info(c->ns[i].blk)->size);
	}
	if (r)
		nvme_contents_end(c);
	return r;
}

/* ---- pieces ---- */

bool nvme_piece_buffer(struct nvme_piece *p)
{
	void *buf = p->buf;

	/* As every backend can take it. */
	if (!buf && posix_memalign(&buf, 4096, NVME_PIECE))
		return false;
	p->buf = buf;
	return true;
}

void nvme_contents_wake(struct nvme_contents *s, struct nvme_ctrl *c)
{
	if (!s->waited)
		return;
	s->waited = false;
	uvfio_migration_done(c->dev, 0);
}

static void settle(struct nvme_piece *p)
{
	struct nvme_contents *s = p->ctrl->contents;

	if (p->session != s->session || !p->io.status)
		return;
	uvfio_device_log(p->ctrl->dev, UVFIO_LOG_ERROR,
			 "nvme: namespace %u: %llu bytes at %llu cannot be %s: %s; the device "
			 "cannot be moved",
			 p->ns + 1, (unsigned long long)p->len, (unsigned long long)p->offset,
			 p->io.op == BLOCK_READ ? "read" : "written", strerror(-p->io.status));
	if (!s->error)
		s->error = p->io.status;
}

static void piece_done(struct block_io *io)
{
	struct nvme_piece *p = (struct nvme_piece *)((char *)io - offsetof(struct nvme_piece, io));
	struct nvme_ctrl *c = p->ctrl;
	struct nvme_contents *s = c->contents;

	p->busy = false;
	s->nr_busy--;
	settle(p);
	if (s->mode == NVME_CONTENTS_IDLE && !s->nr_busy)
		free_buffers(s);
	nvme_contents_wake(s, c);
	nvme_external_done(c);
}

bool nvme_piece_submit(struct nvme_piece *p, enum block_op op, unsigned flags)
{
	struct nvme_ctrl *c = p->ctrl;
	struct nvme_contents *s = c->contents;
	struct block *blk = c->ns[p->ns].blk;

	p->session = s->session;
	p->iov = (struct iovec){p->buf, p->len};
	p->io = (struct block_io){
		.op = op,
		.flags = flags,
		.offset = p->offset,
		.len = p->len,
		.iov = &p->iov,
		.nr_iov = op == BLOCK_READ || op == BLOCK_WRITE || op == BLOCK_NOTE,
		.done = piece_done,
	};
	p->busy = true;
	s->nr_busy++;
	c->external++;
	if (block_submit(blk, &p->io) == 1) {
		block_kick(blk); /* which may complete it */
		return p->busy;
	}
	p->busy = false;
	s->nr_busy--;
	c->external--;
	settle(p);
	return false;
}

/* ---- what is read next ---- */

/* The place in the ring for the next piece, or NULL. */
static struct nvme_piece *room(struct nvme_contents *s)
{
	struct nvme_piece *p = &s->pieces[(s->head + s->nr) % NVME_NR_PIECES];

	return s->nr == NVME_NR_PIECES || p->busy ? NULL : p;
}

static struct nvme_piece *put(struct nvme_contents *s, uint64_t len)
{
	struct nvme_piece *p = room(s);

	s->nr++;
	p->session = s->session;
	p->ns = s->ns;
	p->offset = s->at;
	p->len = len;
	p->initial = s->first_pass;
	p->zeroes = false;
	s->at += len;
	return p;
}

static void put_zeroes(struct nvme_contents *s, uint64_t len)
{
	put(s, len)->zeroes = true;
}

static void read_piece(struct nvme_contents *s, struct nvme_ctrl *c, uint64_t len)
{
	nvme_marks_clear(nvme_marks_of(c, s->ns), s->at, len);
	if (!nvme_piece_buffer(room(s))) {
		s->error = -ENOMEM;
		return;
	}
	nvme_piece_submit(put(s, len), BLOCK_READ, 0);
}

/* A look for data has ended. */
static void looked(struct nvme_contents *s, struct nvme_ctrl *c)
{
	uint64_t size = nvme_contents_bytes(c, s->ns), found;

	s->looking = false;
	/* Whoever cannot say has data everywhere. */
	found = s->look.status ? s->at : s->look.offset / NVME_GRANULE * NVME_GRANULE;
	if (s->look.offset >= size && !s->look.status)
		found = size;
	if (found <= s->at) {
		s->data = s->at + LOOK_EACH;
		s->looks = 0;
		return;
	}
	if (!s->looks++) {
		/* What is written from now on is marked; what was until now is found by looking
		 * once more. */
		nvme_marks_clear(nvme_marks_of(c, s->ns), s->at, found - s->at);
		s->found = found;
		return;
	}
	s->looks = 0;
	put_zeroes(s, (found < s->found ? found : s->found) - s->at);
}

static void look_done(struct block_io *io)
{
	struct nvme_contents *s =
		(struct nvme_contents *)((char *)io - offsetof(struct nvme_contents, look));
	struct nvme_ctrl *c = s->pieces[0].ctrl;

	s->nr_busy--;
	/* Of the session that has begun it: a later one looks for itself. */
	if (s->looking)
		looked(s, c);
	else if (s->mode == NVME_CONTENTS_IDLE && !s->nr_busy)
		free_buffers(s);
	s->look.done = NULL;
	nvme_contents_wake(s, c);
	nvme_external_done(c);
}

/* True: it goes on, false: it is known. */
static bool look(struct nvme_contents *s, struct nvme_ctrl *c)
{
	struct block *blk = c->ns[s->ns].blk;

	if (s->look.done)
		return true; /* an earlier session's */
	s->look = (struct block_io){.op = BLOCK_NEXT_DATA, .offset = s->at, .done = look_done};
	s->looking = true;
	s->nr_busy++;
	c->external++;
	if (block_submit(blk, &s->look) == 1) {
		block_kick(blk);
		return s->look.done;
	}
	s->nr_busy--;
	c->external--;
	s->look.done = NULL;
	looked(s, c);
	return false;
}

static void next_ns(struct nvme_contents *s)
{
	s->ns++;
	s->at = s->data = 0;
	s->looks = 0;
}

/* True: something was done; false: it waits, or this pass is over. */
static bool produce_first(struct nvme_contents *s, struct nvme_ctrl *c)
{
	uint64_t size, len;

	if (s->ns == c->nr_ns) {
		s->first_pass = false;
		s->ns = 0;
		s->at = 0;
		return true;
	}
	size = nvme_contents_has(c, s->ns) ? nvme_contents_bytes(c, s->ns) : 0;
	if (s->at >= size) {
		next_ns(s);
		return true;
	}
	if (s->at >= s->data)
		return !look(s, c);
	len = size - s->at < NVME_PIECE ? size - s->at : NVME_PIECE;
	read_piece(s, c, len);
	return true;
}

/* The next run of marks from here on.  False: there is none up to the end. */
static bool find_marks(struct nvme_contents *s, struct nvme_ctrl *c, uint64_t *len)
{
	for (; s->ns < c->nr_ns; s->ns++, s->at = 0) {
		const struct nvme_dirty *dirty;
		uint64_t i, size, n = 1;

		if (!nvme_contents_has(c, s->ns))
			continue;
		dirty = nvme_marks_of(c, s->ns);
		size = nvme_contents_bytes(c, s->ns);
		i = nvme_marks_next(dirty, s->at >> NVME_GRANULE_BITS);
		if (i == dirty->granules || i << NVME_GRANULE_BITS >= size)
			continue;
		while (n < NVME_PIECE / NVME_GRANULE && nvme_marks_next(dirty, i + n) == i + n &&
		       i + n < dirty->granules)
			n++;
		s->at = i << NVME_GRANULE_BITS;
		*len = n << NVME_GRANULE_BITS;
		if (*len > size - s->at)
			*len = size - s->at;
		return true;
	}
	return false;
}

static bool produce_marked(struct nvme_contents *s, struct nvme_ctrl *c)
{
	bool from_start = !s->ns && !s->at;
	uint64_t len;

	if (!find_marks(s, c, &len)) {
		s->ns = 0;
		s->at = 0;
		if (from_start || !find_marks(s, c, &len))
			return false;
	}
	read_piece(s, c, len);
	return true;
}

static void produce(struct nvme_contents *s, struct nvme_ctrl *c)
{
	while (!s->error && !s->looking && room(s) &&
	       (s->first_pass ? produce_first(s, c) : produce_marked(s, c)))
		;
}

/* ---- sections ---- */

static void put_section(struct uvfio_save *out, const char *kind, unsigned index)
{
	uvfio_save_section(out, kind, NVME_CONTENTS_VERSION);
	uvfio_save_u32(out, index + 1);
}

static bool put_begins(struct nvme_contents *s, struct nvme_ctrl *c, struct uvfio_save *out)
{
	bool any = false;

	for (; s->begun < c->nr_ns; s->begun++) {
		if (!nvme_contents_has(c, s->begun))
			continue;
		put_section(out, NVME_CONTENTS_BEGIN, s->begun);
		uvfio_save_u64(out, nvme_contents_bytes(c, s->begun));
		uvfio_save_u8(out, c->ns[s->begun].shift);
		any = true;
	}
	return any;
}

static bool put_ends(struct nvme_contents *s, struct nvme_ctrl *c, struct uvfio_save *out)
{
	bool any = false;

	for (; s->ended < c->nr_ns; s->ended++) {
		if (!nvme_contents_has(c, s->ended))
			continue;
		put_section(out, NVME_CONTENTS_END, s->ended);
		any = true;
	}
	return any;
}

static bool is_zero(const uint8_t *p, uint64_t len)
{
	return !*p && !memcmp(p, p + 1, len - 1);
}

/* Zeroes that are not put yet: what follows may belong to them. */
struct zeroes {
	unsigned ns;
	uint64_t offset, len;
};

/* True: something was put. */
static bool put_zero_run(struct uvfio_save *out, struct zeroes *z)
{
	if (!z->len)
		return false;
	put_section(out, NVME_CONTENTS_ZEROES, z->ns);
	uvfio_save_u64(out, z->offset);
	uvfio_save_u64(out, z->len);
	z->len = 0;
	return true;
}

static void put_run(struct uvfio_save *out, const struct nvme_piece *p, uint64_t from, uint64_t end,
		    bool zeroes, struct zeroes *z)
{
	bool follows = z->len && z->ns == p->ns && z->offset + z->len == p->offset + from;

	if (zeroes && follows) {
		z->len += end - from;
		return;
	}
	put_zero_run(out, z);
	if (zeroes) {
		*z = (struct zeroes){p->ns, p->offset + from, end - from};
		return;
	}
	put_section(out, NVME_CONTENTS_DATA, p->ns);
	uvfio_save_u64(out, p->offset + from);
	uvfio_save_bytes(out, p->buf + from, end - from);
}

/* Granules of zeroes and others, in runs. */
static void put_piece(struct uvfio_save *out, const struct nvme_piece *p, struct zeroes *z)
{
	uint64_t from = 0, at = 0;
	bool zeroes = false;

	if (p->zeroes) {
		put_run(out, p, 0, p->len, true, z);
		return;
	}
	while (at < p->len) {
		uint64_t n = p->len - at < NVME_GRANULE ? p->len - at : NVME_GRANULE;
		bool zero = is_zero(p->buf + at, n);

		if (at > from && zero != zeroes) {
			put_run(out, p, from, at, zeroes, z);
			from = at;
		}
		zeroes = zero;
		at += n;
	}
	put_run(out, p, from, at, zeroes, z);
}

/* What has come, in its order.  True: something was put. */
static bool put_pieces(struct nvme_contents *s, struct nvme_ctrl *c, struct uvfio_save *out)
{
	struct zeroes z = {0};
	unsigned looked_at = 0;
	uint64_t bytes = 0;

	produce(s, c);
	while (!s->error && s->nr && !s->pieces[s->head].busy && bytes < HANDED_ON &&
	       looked_at < LOOKED_AT) {
		const struct nvme_piece *p = &s->pieces[s->head];
		uint64_t zeroes = z.len;

		put_piece(out, p, &z);
		looked_at++;
		/* Of a piece that is nothing but zeroes nothing was put, as a rule. */
		bytes += z.len >= zeroes + p->len ? 0 : p->len;
		s->head = (s->head + 1) % NVME_NR_PIECES;
		s->nr--;
		produce(s, c);
	}
	return put_zero_run(out, &z) || bytes;
}

/* The storage of a namespace has another size than when the session began. */
static int check_sizes(struct nvme_ctrl *c)
{
	for (unsigned i = 0; i < c->nr_ns; i++) {
		uint64_t granules;

		if (!nvme_contents_has(c, i))
			continue;
		granules = (nvme_contents_bytes(c, i) + NVME_GRANULE - 1) >> NVME_GRANULE_BITS;
		if (c->sub->disks[i].tracker == c && nvme_marks_of(c, i)->granules == granules)
			continue;
		uvfio_device_log(c->dev, UVFIO_LOG_WARN,
				 "nvme: namespace %u: its size or its controllers have changed "
				 "while it was copied: move the device again",
				 i + 1);
		return -ESTALE;
	}
	return 0;
}

int nvme_contents_save(struct nvme_ctrl *c, struct uvfio_save *out, bool stopped, bool first)
{
	struct nvme_contents *s;
	int r = first ? begin(c) : 0;

	s = c->contents;
	if (r || !s || s->mode != NVME_CONTENTS_SAVING)
		return r;
	if (!s->error)
		s->error = check_sizes(c);
	if (!s->error && (put_begins(s, c, out) || put_pieces(s, c, out)))
		return 1;
	if (s->error)
		return s->error;
	if (s->nr_busy) {
		s->waited = true;
		return -EINPROGRESS;
	}
	return stopped && put_ends(s, c, out);
}
