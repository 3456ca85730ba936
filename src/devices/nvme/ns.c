/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Namespaces: what the options say, and the backends behind them.
 *
 * `file=`, `memory=` or `nbd=` of the device is namespace 1; each `ns=` is a further one, whose
 * sub-options are separated by colons: `ns=file=a.img:blocksize=4096:readonly=on`.  A colon
 * separates only where a known sub-option and `=` follow, so that URIs need no quoting.  What an
 * `ns=` does not say it takes from the device's own options.
 *
 * A block size that a driver has set (format.c) is noted with the storage, and counts more than the
 * options.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/nvme.h"

struct ns_options {
	struct block_options block;
	uint64_t blocksize; /* 0: whatever suits the backend */
	const char *attach; /* NULL: to all, and that may change */
	bool copied;        /* its contents move with the device */
};

static const char *const sub_keys[] = {"file",   "memory", "nbd",    "blocksize", "readonly",
				       "direct", "mapped", "attach", "move"};
#define NR_SUB_KEYS (sizeof(sub_keys) / sizeof(sub_keys[0]))

static const char *sub_key(const char *s)
{
	for (size_t i = 0; i < NR_SUB_KEYS; i++) {
		size_t n = strlen(sub_keys[i]);

		if (!strncmp(s, sub_keys[i], n) && s[n] == '=')
			return sub_keys[i];
	}
	return NULL;
}

static bool has_backend(const struct ns_options *o)
{
	return o->block.file || o->block.nbd || o->block.memory;
}

/* `move=`, or what suits the storage: nobody else sees memory. */
static int parse_move(const char *how, struct ns_options *o, struct uvfio_error *err)
{
	bool none = how && !strcmp(how, "none");

	if (how && strcmp(how, "copy") != 0 && strcmp(how, "share") != 0 && !none)
		return uvfio_error_set(err, -EINVAL, "move=%s: must be share, copy or none", how);
	if (how)
		o->copied = !strcmp(how, "copy");
	if (has_backend(o) && none != (none && o->block.memory))
		return uvfio_error_set(err, -EINVAL,
				       "move=none: only memory= can be left behind: choose share "
				       "or copy");
	if (o->block.memory) {
		if (how && !o->copied && !none)
			return uvfio_error_set(err, -EINVAL,
					       "move=share: nobody shares memory=: choose copy or "
					       "none");
		o->copied = !none && !o->block.readonly;
	} else if (o->copied && o->block.readonly) {
		return uvfio_error_set(err, -EINVAL,
				       "move=copy: what is read-only cannot be copied to: make a "
				       "copy of it there, and leave out move=copy");
	}
	return 0;
}

static int parse(const struct uvfio_args *args, struct ns_options *o, const char *what,
		 struct uvfio_error *err)
{
	const char *file = uvfio_arg(args, "file"), *nbd = uvfio_arg(args, "nbd");
	bool mapped = !o->block.no_map;
	uint64_t memory = 0;
	int r;

	r = uvfio_arg_size(args, "memory", &memory, err);
	if (!r)
		r = uvfio_arg_bool(args, "readonly", &o->block.readonly, err);
	if (!r)
		r = uvfio_arg_bool(args, "direct", &o->block.direct, err);
	if (!r)
		r = uvfio_arg_bool(args, "mapped", &mapped, err);
	if (!r)
		r = uvfio_arg_bool(args, "volatile", &o->block.volatile_test, err);
	if (!r)
		r = uvfio_arg_size(args, "blocksize", &o->blocksize, err);
	if (r)
		return r;
	if (o->blocksize && o->blocksize != 512 && o->blocksize != 4096)
		return uvfio_error_set(err, -EINVAL, "blocksize=%llu: must be 512 or 4096",
				       (unsigned long long)o->blocksize);
	if (!!file + !!nbd + !!uvfio_arg(args, "memory") > 1)
		return uvfio_error_set(err, -EINVAL,
				       "%s: give only one of file=PATH, memory=SIZE and nbd=URI",
				       what);
	o->block.file = file;
	o->block.nbd = nbd;
	o->block.memory = memory;
	o->block.no_map = !mapped;
	if (uvfio_arg(args, "attach"))
		o->attach = uvfio_arg(args, "attach");
	return parse_move(uvfio_arg(args, "move"), o, err);
}

/* ---- opening ---- */

static void set_size(struct nvme_ns *ns)
{
	ns->size = block_info(ns->blk)->size >> ns->shift << ns->shift;
}

bool nvme_ns_can_have(const struct nvme_ns *ns, uint8_t shift)
{
	const struct block_info *info = block_info(ns->blk);

	if (shift == ns->shift)
		return true;
	/* The storage's own blocks may be larger; and a block must fit. */
	return info->can_note && ns->disk->align <= 1u << shift && info->size >= 1u << shift;
}

void nvme_ns_set_shift(struct nvme_ns *ns, uint8_t shift)
{
	ns->shift = shift;
	set_size(ns);
}

void nvme_ns_changed(struct nvme_ns *ns)
{
	struct nvme_ctrl *c = ns->ctrl;

	/* A driver that has not asked for the list yet has never seen it otherwise. */
	if (c->state != NVME_READY)
		return;
	ns->changed = true;
	if (c->feat.async_events & NVME_AEC_NS_ATTR)
		nvme_event(c, NVME_EVENT_NOTICE, NVME_EVENT_NOTICE_NS_ATTR);
}

static void resized(void *arg)
{
	struct nvme_ns *ns = arg;
	struct nvme_ctrl *c = ns->ctrl;
	uint64_t old = ns->size;

	set_size(ns);
	nvme_subsys_resized(c, ns->id - 1);
	if (ns->size == old)
		return;
	uvfio_device_log(c->dev, UVFIO_LOG_INFO,
			 "nvme: namespace %u: size changed from %llu to %llu", ns->id,
			 (unsigned long long)old, (unsigned long long)ns->size);
	nvme_ns_changed(ns);
}

/* An identifier that is the same in every run with the same serial number: FNV-1a, twice. */
static void make_uuid(uint8_t uuid[16], const char *seed, uint32_t n)
{
	for (int half = 0; half < 2; half++) {
		uint64_t h = 0xcbf29ce484222325ull ^ (half ? 0x9e3779b97f4a7c15ull : 0);

		for (const char *p = seed; *p; p++)
			h = (h ^ (uint8_t)*p) * 0x100000001b3ull;
		for (int i = 0; i < 4; i++)
			h = (h ^ ((n >> (8 * i)) & 0xff)) * 0x100000001b3ull;
		memcpy(uuid + 8 * half, &h, 8);
	}
	uuid[6] = (uint8_t)(0x80 | (uuid[6] & 0x0f)); /* version 8: own scheme */
	uuid[8] = (uint8_t)(0x80 | (uuid[8] & 0x3f)); /* variant of RFC 4122 */
}

int nvme_ns_formatted(const struct nvme_ns *ns, uint32_t *size, struct uvfio_error *err)
{
	char note[BLOCK_NOTE_MAX + 1], text[32];
	int n = block_note(ns->blk, note, BLOCK_NOTE_MAX);

	if (!n)
		return 0;
	if (n < 0 && n != -ERANGE)
		return uvfio_error_set(
			err, n,
			"namespace %u: cannot read whether its storage was formatted "
			"(attribute user.uvfio.nvme): %s",
			ns->id, strerror(-n));
	for (uint32_t s = 512; s <= 4096; s *= 8) {
		snprintf(text, sizeof(text), NVME_NOTE_FORMAT, s);
		if (n == (int)strlen(text) && !memcmp(note, text, (size_t)n)) {
			*size = s;
			return 0;
		}
	}
	return uvfio_error_set(err, -EINVAL,
			       "namespace %u: what is noted with its storage about a format cannot "
			       "be read; to use the storage as if never formatted, remove the note "
			       "(setfattr -x user.uvfio.nvme FILE)",
			       ns->id);
}

/* The block size: as formatted, as the options say, or what suits the storage. */
static int choose_shift(struct nvme_ns *ns, const struct ns_options *o, struct uvfio_error *err)
{
	uint32_t align = ns->disk->align;
	uint32_t size = o->blocksize ? (uint32_t)o->blocksize : align > 512 ? 4096 : 512;
	uint32_t noted = size;
	int r = nvme_ns_formatted(ns, &noted, err);

	if (r)
		return r;
	if (noted != size && o->blocksize)
		uvfio_device_log(
			ns->ctrl->dev, UVFIO_LOG_WARN,
			"nvme: namespace %u: blocksize=%u is not used: a driver has formatted "
			"the storage with blocks of %u bytes; to undo that, remove its note "
			"(setfattr -x user.uvfio.nvme %s)",
			ns->id, size, noted, o->block.file);
	ns->shift = noted == 4096 ? 12 : 9;
	if (align <= noted)
		return 0;
	return uvfio_error_set(
		err, -EINVAL,
		noted == size ? "namespace %u: blocksize=%u on storage with blocks of %u "
				"bytes: use blocksize=4096"
			      : "namespace %u: a driver has formatted the storage with blocks "
				"of %u bytes, and direct=on needs %u here: leave out direct=on",
		ns->id, noted, align);
}

/* @ns is namespace @d of @c from here on; it has its storage. */
static void init_ns(struct nvme_ctrl *c, struct nvme_ns *ns, struct nvme_disk *d)
{
	const struct block_info *info = block_info(ns->blk);

	ns->ctrl = c;
	ns->id = d->id;
	ns->disk = d;
	ns->mem_align = d->mem_align;
	ns->readonly = d->readonly;
	STAILQ_INIT(&ns->waiters);
	if (info->volatile_cache)
		c->volatile_cache = true;
	if (info->can_resize)
		c->resizable = true;
	block_on_resize(ns->blk, resized, ns);
}

int nvme_ns_share(struct nvme_ctrl *c, struct nvme_ns *ns, struct nvme_disk *d)
{
	int r = block_share(d->blk, c->dev, uvfio_device_ctx(c->dev), &ns->blk);

	if (r)
		return r;
	init_ns(c, ns, d);
	pthread_mutex_lock(&d->sub->lock);
	ns->shift = d->shift;
	pthread_mutex_unlock(&d->sub->lock);
	set_size(ns);
	return 0;
}

static int open_one(struct nvme_ctrl *c, const struct ns_options *o, struct uvfio_error *err)
{
	struct block_options options = o->block;
	struct nvme_disk *d = &c->sub->disks[c->nr_ns];
	struct nvme_ns *ns = &c->ns[c->nr_ns];
	const struct block_info *info;
	int r;

	r = nvme_attach_parse(d, o->attach, err);
	if (r)
		return r;
	options.dev = c->dev;
	options.shared = c->sub->shared;
	options.unlocked = c->sub->incoming && !options.readonly && !o->copied;
	r = block_open(&options, uvfio_device_ctx(c->dev), &ns->blk, err);
	if (r)
		return r;
	info = block_info(ns->blk);
	d->blk = ns->blk;
	d->align = info->align ? info->align : 1;
	d->mem_align = o->block.direct ? (d->align > 512 ? d->align : 512) : 1;
	d->readonly = info->readonly;
	d->kept = !options.memory;
	d->copied = o->copied;
	d->handed = d->kept && !d->copied && !options.readonly;
	nvme_storage_opened(d);
	init_ns(c, ns, d);
	r = choose_shift(ns, o, err);
	if (r)
		goto fail;
	set_size(ns);
	if (!ns->size) {
		r = uvfio_error_set(err, -EINVAL,
				    "namespace %u: the storage has %llu bytes, less than one block "
				    "of %u: make it larger",
				    ns->id, (unsigned long long)info->size, 1u << ns->shift);
		goto fail;
	}
	if (ns->size != info->size)
		uvfio_device_log(c->dev, UVFIO_LOG_WARN,
				 "nvme: namespace %u: the last %llu bytes of the storage are not a "
				 "whole block of %u and cannot be reached: give it a multiple",
				 ns->id, (unsigned long long)(info->size - ns->size),
				 1u << ns->shift);
	make_uuid(d->uuid, c->serial, ns->id);
	d->shift = ns->shift;
	d->size = info->size;
	ns->attached = nvme_disk_attached(d, c->cntlid);
	c->nr_ns++;
	return 0;
fail:
	block_close(ns->blk);
	ns->blk = NULL;
	return r;
}

/* One `ns=`: its sub-options as options of their own. */
static int open_sub(struct nvme_ctrl *c, const char *value, const struct ns_options *defaults,
		    struct uvfio_error *err)
{
	struct uvfio_option options[16];
	struct uvfio_args args = {.options = options};
	struct ns_options o = *defaults;
	char *copy = strdup(value), *p = copy;
	int r = 0;

	if (!copy)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	o.block.file = o.block.nbd = NULL;
	o.block.memory = 0;
	o.attach = NULL;
	o.copied = defaults->copied && !defaults->block.memory;
	while (p && !r) {
		const char *key = sub_key(p);
		char *val, *next;

		if (!key || args.nr_options == 16) {
			r = uvfio_error_set(
				err, -EINVAL,
				"ns=%s: '%s' is not a sub-option: use file=PATH, "
				"memory=SIZE or nbd=URI with blocksize=512|4096, "
				"readonly=on|off, direct=on|off, mapped=on|off, "
				"attach=LIST and move=share|copy|none, separated by ':'",
				value, p);
			break;
		}
		val = p + strlen(key) + 1;
		for (next = strchr(val, ':'); next && !sub_key(next + 1);
		     next = strchr(next + 1, ':'))
			;
		if (next)
			*next++ = 0;
		options[args.nr_options++] = (struct uvfio_option){key, val};
		p = next;
	}
	if (!r)
		r = parse(&args, &o, "ns=", err);
	if (!r && !has_backend(&o))
		r = uvfio_error_set(err, -EINVAL, "ns=%s: add file=PATH, memory=SIZE or nbd=URI",
				    value);
	if (!r)
		r = open_one(c, &o, err);
	free(copy);
	return r;
}

int nvme_ns_open_all(struct nvme_ctrl *c, const struct uvfio_args *args, struct uvfio_error *err)
{
	struct ns_options o = {0};
	unsigned nr = 0;
	int r = parse(args, &o, "nvme", err);

	if (r)
		return r;
	for (unsigned i = 0; i < args->nr_options; i++)
		nr += !strcmp(args->options[i].key, "ns");
	nr += has_backend(&o);
	if (!nr)
		return uvfio_error_set(err, -EINVAL,
				       "nvme: no storage: add file=PATH, memory=SIZE or nbd=URI");
	if (nr > NVME_MAX_NAMESPACES)
		return uvfio_error_set(err, -EINVAL, "nvme: %u namespaces: at most %d", nr,
				       NVME_MAX_NAMESPACES);
	if (!nvme_subsys_disks(c->sub, nr))
		c->ns = nvme_lazy(nr * sizeof(*c->ns));
	if (!c->ns)
		return uvfio_error_set(err, -ENOMEM, "nvme: out of memory");
	if (has_backend(&o))
		r = open_one(c, &o, err);
	for (unsigned i = 0; !r && i < args->nr_options; i++) {
		if (!strcmp(args->options[i].key, "ns"))
			r = open_sub(c, args->options[i].value, &o, err);
	}
	if (r)
		nvme_ns_close_all(c);
	return r;
}

int nvme_ns_take_all(struct nvme_ctrl *c, struct uvfio_error *err)
{
	/* Most of a thousand VFs have few of many namespaces. */
	c->ns = nvme_lazy(c->sub->nr_disks * sizeof(*c->ns));
	if (!c->ns)
		return uvfio_error_set(err, -ENOMEM, "nvme: out of memory");
	c->nr_ns = c->sub->nr_disks;
	nvme_subsys_join(c);
	return 0;
}

void nvme_ns_close_all(struct nvme_ctrl *c)
{
	if (!c->ns)
		return;
	for (unsigned i = 0; i < c->nr_ns; i++)
		block_close(c->ns[i].blk);
	nvme_lazy_free(c->ns, c->sub->nr_disks * sizeof(*c->ns));
	c->ns = NULL;
	c->nr_ns = 0;
}

void nvme_ctrl_identity(struct nvme_ctrl *c, const char *serial)
{
	uint8_t u[16];

	if (serial)
		snprintf(c->serial, sizeof(c->serial), "%s", serial);
	else
		snprintf(c->serial, sizeof(c->serial), "uvfio-%s", uvfio_device_name(c->dev));
	make_uuid(u, c->serial, 0); /* of the subsystem: the same for all controllers */
	snprintf(c->subnqn, sizeof(c->subnqn),
		 "nqn.2014-08.org.nvmexpress:uuid:%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
		 "%02x%02x%02x%02x%02x%02x",
		 u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
		 u[13], u[14], u[15]);
}
