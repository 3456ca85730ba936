/* SPDX-License-Identifier: BSD-3-Clause */
/* The core and the block backends as the NVMe controller sees them; see nvme_harness.h. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "devices/nvme/nvme_model.h"
#include "nvme_harness.h"

/* ---- the core ---- */

int uvfio_device_init(struct uvfio_device *dev, const struct uvfio_pci_desc *desc,
		      struct uvfio_error *err)
{
	struct harness *h = dev->h;

	h->desc = *desc;
	if (desc->sriov)
		h_take_sriov(h, desc->sriov);
	h->nr_areas = desc->bars[0].nr_areas;
	memcpy(h->areas, desc->bars[0].areas, h->nr_areas * sizeof(h->areas[0]));
	for (unsigned i = 1; i < 6; i++) {
		if (desc->bars[i].nr_areas)
			h->bar_memory[i] = calloc(1, desc->bars[i].size);
	}
	return 0;
}

const char *uvfio_device_name(const struct uvfio_device *dev)
{
	return "0000:01:00.0";
}

struct uvfio_ctx *uvfio_device_ctx(struct uvfio_device *dev)
{
	return &dev->h->ctx;
}

void uvfio_device_log(struct uvfio_device *dev, enum uvfio_log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level <= UVFIO_LOG_WARN)
		dev->h->nr_errors_logged++;
	if (!getenv("NVME_TEST_LOG"))
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void uvfio_reg_set(struct uvfio_device *dev, unsigned bar, uint64_t offset, unsigned size,
		   uint64_t value)
{
	uint8_t *p = (uint8_t *)dev->h->regs + offset;

	assert(bar == 0 && offset + size <= H_BAR_SIZE && offset % size == 0);
	if (size == 8)
		__atomic_store_n((uint64_t *)p, value, __ATOMIC_SEQ_CST);
	else if (size == 4)
		__atomic_store_n((uint32_t *)p, (uint32_t)value, __ATOMIC_SEQ_CST);
	else
		abort();
}

uint64_t uvfio_reg_get(struct uvfio_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	uint8_t *p = (uint8_t *)dev->h->regs + offset;

	if (size == 8)
		return __atomic_load_n((uint64_t *)p, __ATOMIC_SEQ_CST);
	return __atomic_load_n((uint32_t *)p, __ATOMIC_SEQ_CST);
}

void *uvfio_bar_memory(struct uvfio_device *dev, unsigned bar, uint64_t offset)
{
	return dev->h->bar_memory[bar] + offset;
}

static bool memory_lost;

void h_lose_memory(bool lost)
{
	memory_lost = lost;
}

int uvfio_copy(void *dst, const void *src, size_t len)
{
	if (memory_lost)
		return -EFAULT;
	memcpy(dst, src, len);
	return 0;
}

void uvfio_reg_read_ready(struct uvfio_device *dev, uint64_t ticket)
{
	if (__atomic_load_n(&dev->h->read_ready, __ATOMIC_SEQ_CST) < ticket)
		__atomic_store_n(&dev->h->read_ready, ticket, __ATOMIC_SEQ_CST);
}

void uvfio_kick(struct uvfio_device *dev)
{
	__atomic_store_n(&dev->h->kicked, true, __ATOMIC_SEQ_CST);
}

void uvfio_quiesced(struct uvfio_device *dev)
{
	dev->h->quiesced++;
}

void uvfio_migration_done(struct uvfio_device *dev, int result)
{
	assert(dev->h->moved == 1);
	dev->h->moved = result;
}

bool uvfio_paused(const struct uvfio_device *dev)
{
	return dev->h->paused;
}

void uvfio_irq_raise(struct uvfio_device *dev, unsigned vector)
{
	assert(vector < dev->h->desc.msix_vectors || vector < dev->h->desc.msi_vectors);
	if (dev->h->message)
		dev->h->irqs[vector]++;
}

void uvfio_intx_set(struct uvfio_device *dev, bool level)
{
	if (level && !dev->h->intx)
		dev->h->intx_edges++;
	dev->h->intx = level;
}

bool uvfio_irq_is_message(struct uvfio_device *dev)
{
	return dev->h->message;
}

/* ---- DMA ---- */

static int dma_check(struct harness *h, uint64_t iova, uint64_t len)
{
	assert(h->in_ctx);
	assert(len);
	if (!h->bus_master)
		return -EPERM;
	h->nr_dma++;
	if (iova < H_MEM_BASE || len > H_MEM_SIZE || iova - H_MEM_BASE > H_MEM_SIZE - len) {
		h->nr_dma_faults++;
		return -EFAULT;
	}
	for (unsigned i = 0; i < h->nr_faults; i++) {
		if (iova < h->faults[i].end && iova + len > h->faults[i].start) {
			h->nr_dma_faults++;
			return -EFAULT;
		}
	}
	return 0;
}

int uvfio_dma_submit(struct uvfio_device *dev, struct uvfio_dma *op)
{
	struct harness *h = dev->h;
	int r = h->in_ctx && !h->bus_master ? -EPERM : 0;

	if (r)
		return r;
	if (!h->delay_dma) {
		r = dma_check(h, op->iova, op->len);
		if (!r)
			model_copy(op, h->mem + (op->iova - H_MEM_BASE));
		return r;
	}
	assert(h->in_ctx);
	model_transfers_add(&h->transfers, op);
	h->nr_dma_pending++;
	return 1;
}

static bool dma_complete_one(struct harness *h)
{
	struct uvfio_dma *op;
	unsigned n = 0;

	if (!h->transfers.head)
		return false;
	if (h->dma_shuffle) {
		h->seed = h->seed * 1103515245 + 12345;
		n = (h->seed >> 16) % h->nr_dma_pending;
	}
	op = model_transfers_take(&h->transfers, n);
	h->nr_dma_pending--;
	h->in_ctx = true;
	op->status = dma_check(h, op->iova, op->len);
	if (!op->status)
		model_copy(op, h->mem + (op->iova - H_MEM_BASE));
	op->done(op);
	h->in_ctx = false;
	return true;
}

int uvfio_dma_pin(struct uvfio_device *dev, uint64_t iova, size_t len, bool to_client,
		  struct iovec *iov, int max_iov, struct uvfio_dma_pin *pin)
{
	struct harness *h = dev->h;
	int r = dma_check(h, iova, len), n = 0;

	if (r)
		return r;
	if (h->no_pin)
		return -ENOTSUP;
	n = model_pieces(h->mem + (iova - H_MEM_BASE), iova, len, h->split_pin, iov, max_iov);
	if (n < 0)
		return n;
	pin->core[0] = h;
	h->nr_pins++;
	h->nr_pinned++;
	return n;
}

void uvfio_dma_unpin(struct uvfio_device *dev, struct uvfio_dma_pin *pin)
{
	assert(pin->core[0] == dev->h && dev->h->nr_pinned && dev->h->in_ctx);
	pin->core[0] = NULL;
	dev->h->nr_pinned--;
}

/* ---- time ---- */

struct model_clock *model_clock(struct uvfio_device *dev)
{
	return &dev->h->clock;
}

void h_advance(struct harness *h, uint64_t ns)
{
	model_clock_advance(&h->clock, ns);
	h_run(h);
}

/* ---- what it reports ---- */

void uvfio_stat_counter(struct uvfio_stats *out, const char *name, const char *help, uint64_t value,
			const char *labels, ...)
{
	va_list ap;

	va_start(ap, labels);
	model_stat_seen(&((struct harness *)out)->stat, name, value, labels, ap);
	va_end(ap);
}

void uvfio_stat_gauge(struct uvfio_stats *out, const char *name, const char *help, uint64_t value,
		      const char *labels, ...)
{
	va_list ap;

	va_start(ap, labels);
	model_stat_seen(&((struct harness *)out)->stat, name, value, labels, ap);
	va_end(ap);
}

void uvfio_stat_histogram(struct uvfio_stats *out, const char *name, const char *help,
			  const struct uvfio_histogram *histogram, const char *labels, ...)
{
	uint64_t n = 0;
	va_list ap;

	for (unsigned i = 0; i < UVFIO_HISTOGRAM_BUCKETS; i++)
		n += histogram->bucket[i];
	va_start(ap, labels);
	model_stat_seen(&((struct harness *)out)->stat, name, n, labels, ap);
	va_end(ap);
}

uint64_t h_stat(struct harness *h, const char *what)
{
	h->stat.what = what;
	h->stat.found = false;
	nvme_model.stats(h->priv, (struct uvfio_stats *)h);
	assert(h->stat.found);
	return h->stat.value;
}

/* ---- storage ---- */

int block_open(const struct block_options *opts, struct uvfio_ctx *ctx, struct block **out,
	       struct uvfio_error *err)
{
	struct harness *h = ctx->h;
	uint64_t size = opts->memory ? opts->memory : h->file_size;
	struct block *b;

	if (!opts->memory && !(opts->file && h->file_size))
		return uvfio_error_set(err, -ENOENT, "cannot open %s",
				       opts->file ? opts->file : opts->nbd);
	if (h->nr_blocks == H_BLOCKS)
		return -ENOSPC;
	b = calloc(1, sizeof(*b));
	b->h = h;
	b->of = b;
	b->info = (struct block_info){
		.size = size,
		.align = h->block_align,
		.readonly = opts->readonly,
		.can_discard = !h->block_no_discard,
		.can_fua = !h->block_no_fua,
		.volatile_cache = h->block_volatile,
		.can_resize = true,
		.can_note = !h->block_no_note && !opts->readonly,
	};
	if (h->block_note)
		snprintf(b->note, sizeof(b->note), "%s", h->block_note);
	b->held = !opts->unlocked;
	b->other_has_it = opts->unlocked && h->block_taken;
	b->direct = h->block_direct;
	b->data = calloc(1, size);
	b->durable = calloc(1, size);
	h->blocks[h->nr_blocks++] = b;
	*out = b;
	return 0;
}

void block_close(struct block *b)
{
	struct harness *h = b ? b->h : NULL;

	if (!b)
		return;
	assert(!h->nr_io_pending);
	for (unsigned i = 0; i < h->nr_blocks; i++) {
		if (h->blocks[i] == b) {
			memmove(&h->blocks[i], &h->blocks[i + 1],
				(h->nr_blocks - i - 1) * sizeof(h->blocks[0]));
			h->nr_blocks--;
			break;
		}
	}
	if (b->of == b) {
		free(b->data);
		free(b->durable);
	}
	free(b);
}

const struct block_info *block_info(const struct block *b)
{
	return &b->info;
}

void block_on_resize(struct block *b, void (*fn)(void *arg), void *arg)
{
	b->resize_fn = fn;
	b->resize_arg = arg;
}

int block_note(struct block *b, void *buf, size_t size)
{
	size_t n = strlen(b->note);

	memcpy(buf, b->note, n < size ? n : size);
	return n < size ? (int)n : -ERANGE;
}

static void look_at_size(struct block *b)
{
	uint64_t old = b->info.size;

	if (!b->new_size || b->new_size == old)
		return;
	assert(b->of == b);
	b->data = realloc(b->data, b->new_size);
	b->durable = realloc(b->durable, b->new_size);
	if (b->new_size > old)
		memset(b->data + old, 0, b->new_size - old);
	b->info.size = b->new_size;
	b->resize_fn(b->resize_arg);
}

void *block_direct(struct block *b, uint64_t offset, uint64_t len)
{
	assert(offset <= b->info.size && len <= b->info.size - offset);
	return b->direct ? b->of->data + offset : NULL;
}

void block_prefetch(const struct block *b, uint64_t offset, unsigned lines)
{
}

static void io_copy(struct block *b, struct block_io *io)
{
	uint64_t pos = io->offset;
	uint8_t *data = b->of->data;

	for (int i = 0; i < io->nr_iov; i++) {
		if (io->op == BLOCK_READ)
			memcpy(io->iov[i].iov_base, data + pos, io->iov[i].iov_len);
		else
			memcpy(data + pos, io->iov[i].iov_base, io->iov[i].iov_len);
		pos += io->iov[i].iov_len;
	}
	assert(pos == io->offset + io->len);
}

static int io_do(struct block *b, struct block_io *io)
{
	if (io->op == BLOCK_READ || io->op == BLOCK_WRITE)
		assert(io->nr_iov > 0 && io->len);
	if (io->offset > b->info.size || io->len > b->info.size - io->offset)
		return -ENXIO;
	assert(!(io->offset % b->info.align) && !(io->len % b->info.align));
	assert(!(io->flags & BLOCK_FUA) || b->info.can_fua);
	assert(!b->info.readonly || io->op == BLOCK_READ || io->op == BLOCK_FLUSH ||
	       io->op == BLOCK_GET_SIZE);
	/* Nobody touches what another one may have. */
	assert(b->of->held || io->op == BLOCK_TAKE || io->op == BLOCK_RELEASE ||
	       io->op == BLOCK_GET_SIZE);
	b->nr_ops[io->op]++;
	b->nr_fua += !!(io->flags & BLOCK_FUA);
	b->nr_may_free += !!(io->flags & BLOCK_MAY_FREE);
	if (b->fail && io->op == b->fail_op && !b->fail_after--) {
		b->fail = false;
		return b->fail_errno;
	}
	switch (io->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		if (io->nr_iov > b->max_iov)
			b->max_iov = io->nr_iov;
		io_copy(b, io);
		break;
	case BLOCK_GET_SIZE:
		look_at_size(b);
		break;
	case BLOCK_NOTE:
		assert(b->info.can_note && io->nr_iov == 1);
		memset(b->note, 0, sizeof(b->note));
		memcpy(b->note, io->iov->iov_base, io->iov->iov_len);
		break;
	case BLOCK_TAKE:
		if (b->of->other_has_it)
			return -EBUSY;
		/* fallthrough */
	case BLOCK_RELEASE:
		b->of->held = io->op == BLOCK_TAKE;
		break;
	case BLOCK_NEXT_DATA:
		break;
	case BLOCK_FLUSH:
		memcpy(b->of->durable, b->of->data, b->info.size);
		break;
	case BLOCK_DISCARD:
		b->discarded += io->len;
		/* fallthrough */
	case BLOCK_WRITE_ZEROES:
		memset(b->of->data + io->offset, 0, io->len);
		break;
	}
	if (io->flags & BLOCK_FUA)
		memcpy(b->of->durable + io->offset, b->of->data + io->offset, io->len);
	return 0;
}

int block_submit(struct block *b, struct block_io *io)
{
	struct harness *h = b->h;

	assert(h->in_ctx);
	if (!h->block_async) {
		io->status = io_do(b, io);
		return 0;
	}
	io->core[0] = NULL;
	io->core[1] = b;
	if (h->io_tail)
		((struct block_io *)h->io_tail)->core[0] = io;
	else
		h->io_head = io;
	h->io_tail = io;
	h->nr_io_pending++;
	return 1;
}

static bool io_complete_one(struct harness *h)
{
	struct block_io *io = h->io_head;
	bool in_ctx = h->in_ctx;

	if (!io)
		return false;
	h->io_head = io->core[0];
	if (!h->io_head)
		h->io_tail = NULL;
	h->nr_io_pending--;
	h->in_ctx = true;
	io->status = io_do(io->core[1], io);
	io->done(io);
	h->in_ctx = in_ctx;
	return true;
}

void block_kick(struct block *b)
{
	struct harness *h = b->h;

	/* What these submit in their turn has a kick of its own. */
	for (unsigned n = h->kick_completes && !h->hold_block ? h->nr_io_pending : 0; n; n--)
		io_complete_one(h);
}

/* ---- running ---- */

bool h_work(struct harness *h)
{
	if (!__atomic_exchange_n(&h->kicked, false, __ATOMIC_SEQ_CST) && !h->more)
		return false;
	h->in_ctx = true;
	h->more = nvme_model.work(h->priv);
	h->in_ctx = false;
	return true;
}

void h_run(struct harness *h)
{
	unsigned turns = 0;

	for (;;) {
		bool moved = h_work(h);

		if (!h->hold_dma)
			moved |= dma_complete_one(h);
		if (!h->hold_block)
			moved |= io_complete_one(h);
		if (!moved)
			return;
		/* Nothing that a driver does keeps the controller busy for ever. */
		if (++turns > 10000000)
			abort();
	}
}

void h_complete_dma(struct harness *h, unsigned n)
{
	while (n-- && dma_complete_one(h))
		;
}

void h_abandon_dma(struct harness *h, int status)
{
	while (h->transfers.head) {
		struct uvfio_dma *op = model_transfers_take(&h->transfers, 0);

		h->nr_dma_pending--;
		op->status = status;
		h->in_ctx = true;
		op->done(op);
		h->in_ctx = false;
	}
}

void h_complete_io(struct harness *h, unsigned n)
{
	while (n-- && io_complete_one(h))
		;
}

void h_quiesce(struct harness *h)
{
	h->in_ctx = true;
	nvme_model.quiesce(h->priv);
	h->in_ctx = false;
}

void h_quiet(struct harness *h)
{
	unsigned before = h->quiesced;

	h_quiesce(h);
	while (h->quiesced == before) {
		bool moved = dma_complete_one(h);

		moved |= io_complete_one(h);
		moved |= h_work(h);
		assert(moved);
	}
	assert(h->quiesced == before + 1);
	assert(!h->nr_dma_pending && !h->nr_io_pending && !h->nr_pinned);
}

void h_pause(struct harness *h)
{
	h->paused = true;
	h_quiet(h);
	h->bus_master = false;
}

void h_resume(struct harness *h)
{
	if (h->paused)
		h->bus_master = true;
	h->paused = false;
	h->in_ctx = true;
	nvme_model.resume(h->priv);
	h->in_ctx = false;
	h_run(h);
}

void h_reset(struct harness *h, enum uvfio_reset_kind kind)
{
	h_quiet(h);
	h->in_ctx = true;
	nvme_model.reset(h->priv, kind);
	h->in_ctx = false;
	h_run(h);
}

/* ---- life ---- */

static struct uvfio_error last_error;

const char *h_last_error(void)
{
	return last_error.msg;
}

bool h_late(void)
{
	return model_late("NVME_TEST_DMA");
}

static void harness_free(struct harness *h)
{
	assert(!h->nr_blocks && !h->clock.timers);
	munmap(h->mem, H_MEM_SIZE);
	for (unsigned i = 0; i < 6; i++)
		free(h->bar_memory[i]);
	free(h);
}

struct harness *h_alloc_harness(void)
{
	struct harness *h = calloc(1, sizeof(*h));

	h->dev.h = h->ctx.h = h;
	/* Costs nothing until touched, also under AddressSanitizer. */
	h->mem = mmap(NULL, H_MEM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(h->mem != MAP_FAILED);
	h->alloc = H_MEM_BASE;
	h->clock.in_ctx = &h->in_ctx;
	h->bus_master = true;
	h->message = true;
	h->moved = 1;
	h->block_direct = true;
	h->block_align = 512;
	if (h_late())
		h->delay_dma = h->no_pin = h->dma_shuffle = true;
	return h;
}

struct harness *h_new_with(const char *args, void (*setup)(struct harness *h))
{
	struct harness *h = h_alloc_harness();
	struct uvfio_option options[32];
	struct uvfio_args a = {options, 0};
	char *copy = strdup(args);
	int r;

	if (setup)
		setup(h);
	a.nr_options = model_options(copy, options, 32);
	last_error.msg[0] = 0;
	r = nvme_model.create(&h->dev, &a, &h->priv, &last_error);
	free(copy);
	if (r) {
		assert(r < 0 && last_error.msg[0]);
		harness_free(h);
		return NULL;
	}
	h->in_ctx = true;
	nvme_model.reset(h->priv, UVFIO_RESET_POWER_ON);
	nvme_model.reset(h->priv, UVFIO_RESET_OPEN);
	h->in_ctx = false;
	h_run(h);
	return h;
}

struct harness *h_new(const char *args)
{
	return h_new_with(args, NULL);
}

void h_free(struct harness *h)
{
	h->hold_dma = h->hold_block = false;
	h_reset(h, UVFIO_RESET_CLOSE);
	nvme_model.destroy(h->priv);
	if (h->pf)
		h->pf->vfs[h->vf_index] = NULL;
	harness_free(h);
}
