/* SPDX-License-Identifier: BSD-3-Clause */
/* The core as the I/OAT engine sees it; see ioat_harness.h. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "devices/ioat/ioat_model.h"
#include "ioat_harness.h"

/* ---- the core ---- */

int uvfio_device_init(struct uvfio_device *dev, const struct uvfio_pci_desc *desc,
		      struct uvfio_error *err)
{
	struct harness *h = dev->h;

	h->desc = *desc;
	h->nr_areas = desc->bars[0].nr_areas;
	memcpy(h->areas, desc->bars[0].areas, h->nr_areas * sizeof(h->areas[0]));
	assert(desc->nr_config <= 1);
	if (desc->nr_config)
		h->config = desc->config[0];
	assert(h->config.len <= sizeof(h->config_regs));
	return 0;
}

static uint32_t *config_at(struct harness *h, unsigned offset, unsigned size)
{
	assert(size == 4 && !(offset & 3) && offset >= h->config.offset);
	assert(offset - h->config.offset + size <= h->config.len);
	return &h->config_regs[(offset - h->config.offset) / 4];
}

uint32_t uvfio_config_get(struct uvfio_device *dev, unsigned offset, unsigned size)
{
	return *config_at(dev->h, offset, size);
}

void uvfio_config_set(struct uvfio_device *dev, unsigned offset, unsigned size, uint32_t mask,
		      uint32_t value)
{
	uint32_t *reg = config_at(dev->h, offset, size);

	*reg = (*reg & ~mask) | (value & mask);
}

void uvfio_device_log(struct uvfio_device *dev, enum uvfio_log_level level, const char *fmt, ...)
{
	char line[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	assert(!strstr(line, "(null)"));
	if (getenv("IOAT_TEST_LOG"))
		fprintf(stderr, "%s\n", line);
}

void uvfio_reg_set(struct uvfio_device *dev, unsigned bar, uint64_t offset, unsigned size,
		   uint64_t value)
{
	assert(!bar && offset + size <= IOAT_BAR_SIZE && !(offset % size) && size <= 8);
	memcpy((uint8_t *)dev->h->regs + offset, &value, size);
}

uint64_t uvfio_reg_get(struct uvfio_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, (uint8_t *)dev->h->regs + offset, size);
	return value;
}

void uvfio_kick(struct uvfio_device *dev)
{
	dev->h->kicked = true;
}

void uvfio_quiesced(struct uvfio_device *dev)
{
	dev->h->quiesced++;
}

bool uvfio_paused(const struct uvfio_device *dev)
{
	return dev->h->paused;
}

void uvfio_irq_raise(struct uvfio_device *dev, unsigned vector)
{
	assert(!dev->h->paused);
	assert(dev->h->in_ctx);
	assert(vector < dev->h->desc.msix_vectors || vector < dev->h->desc.msi_vectors);
	dev->h->irqs[vector]++;
}

void uvfio_intx_set(struct uvfio_device *dev, bool level)
{
	assert(dev->h->intx != level);
	dev->h->intx = level;
}

bool uvfio_irq_is_message(struct uvfio_device *dev)
{
	return dev->h->message;
}

/* ---- DMA ---- */

static bool touches(uint64_t iova, uint64_t len, uint64_t start, uint64_t end)
{
	return iova < end && iova + len > start;
}

static int dma_check(struct harness *h, uint64_t iova, uint64_t len)
{
	assert(h->in_ctx && len && iova + len - 1 >= iova);
	if (!h->bus_master || h->paused)
		return -EPERM;
	h->nr_dma++;
	if (iova < H_MEM_BASE || len > H_MEM_SIZE || iova - H_MEM_BASE > H_MEM_SIZE - len ||
	    touches(iova, len, h->fault, h->fault_end))
		return -EFAULT;
	return touches(iova, len, h->gone, h->gone_end) ? -EIO : 0;
}

static int dma_do(struct harness *h, struct uvfio_dma *op)
{
	int r = dma_check(h, op->iova, op->len);

	if (r)
		return r;
	model_copy(op, h_ptr(h, op->iova));
	return 0;
}

int uvfio_dma_submit(struct uvfio_device *dev, struct uvfio_dma *op)
{
	struct harness *h = dev->h;

	assert(h->in_ctx);
	if (!h->bus_master || h->paused)
		return -EPERM;
	if (!h->late)
		return dma_do(h, op);
	model_transfers_add(&h->transfers, op);
	h->nr_pending++;
	return 1;
}

static struct uvfio_dma *dma_take(struct harness *h)
{
	if (!h->transfers.head)
		return NULL;
	h->nr_pending--;
	return model_transfers_take(&h->transfers, 0);
}

static bool dma_complete_one(struct harness *h)
{
	struct uvfio_dma *op = dma_take(h);

	if (!op)
		return false;
	h->in_ctx = true;
	op->status = dma_do(h, op);
	op->done(op);
	h->in_ctx = false;
	return true;
}

void h_complete_dma(struct harness *h, unsigned n)
{
	while (n-- && dma_complete_one(h))
		;
}

void h_abandon_dma(struct harness *h, int status)
{
	struct uvfio_dma *op;

	while ((op = dma_take(h))) {
		op->status = status;
		h->in_ctx = true;
		op->done(op);
		h->in_ctx = false;
	}
}

int uvfio_dma_pin(struct uvfio_device *dev, uint64_t iova, size_t len, bool to_client,
		  struct iovec *iov, int max_iov, struct uvfio_dma_pin *pin)
{
	struct harness *h = dev->h;
	int r = dma_check(h, iova, len), n = 0;

	if (r)
		return r;
	if (h->late)
		return -ENOTSUP;
	n = model_pieces(h_ptr(h, iova), iova, len, h->split_pin, iov, max_iov);
	if (n < 0)
		return n;
	h->nr_pins++;
	h->nr_pinned++;
	return n;
}

void uvfio_dma_unpin(struct uvfio_device *dev, struct uvfio_dma_pin *pin)
{
	assert(dev->h->nr_pinned && dev->h->in_ctx);
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

uint64_t h_stat(struct harness *h, const char *what)
{
	h->stat = (struct model_stat){.what = what};
	ioat_model.stats(h->priv, (struct uvfio_stats *)h);
	assert(h->stat.found);
	return h->stat.value;
}

/* ---- registers ---- */

/* The area that holds @offset; accesses do not cross its end. */
static const struct uvfio_area *area_at(struct harness *h, uint64_t offset, unsigned size)
{
	for (unsigned i = 0; i < h->nr_areas; i++) {
		const struct uvfio_area *a = &h->areas[i];

		if (offset >= a->offset && offset < a->offset + a->size) {
			assert(offset + size <= a->offset + a->size);
			return a;
		}
	}
	return NULL;
}

void h_write(struct harness *h, uint64_t offset, unsigned size, uint64_t value)
{
	assert(!h->in_ctx);
	if (area_at(h, offset, size))
		ioat_model.reg_write(h->priv, 0, offset, size, value);
}

uint64_t h_read(struct harness *h, uint64_t offset, unsigned size)
{
	const struct uvfio_area *a = area_at(h, offset, size);

	if (!a)
		return 0;
	if (a->flags & UVFIO_AREA_READ_EVENT)
		return ioat_model.reg_read(h->priv, 0, offset, size);
	return uvfio_reg_get(&h->dev, 0, offset, size);
}

/* ---- running ---- */

bool h_work(struct harness *h)
{
	if (!h->kicked && !h->more)
		return false;
	h->kicked = false;
	h->in_ctx = true;
	h->more = ioat_model.work(h->priv);
	h->in_ctx = false;
	assert(!h->nr_pinned);
	return true;
}

void h_run(struct harness *h)
{
	unsigned turns = 0;

	for (;;) {
		bool moved = h_work(h);

		if (!h->hold_dma)
			moved |= dma_complete_one(h);
		if (!moved)
			return;
		/* Nothing that a driver does keeps the engine busy for ever. */
		if (++turns > 10000000)
			abort();
	}
}

void h_quiesce(struct harness *h)
{
	h->in_ctx = true;
	ioat_model.quiesce(h->priv);
	h->in_ctx = false;
}

void h_resume(struct harness *h)
{
	h->in_ctx = true;
	ioat_model.resume(h->priv);
	h->in_ctx = false;
	h_run(h);
}

void h_reset(struct harness *h, enum uvfio_reset_kind kind)
{
	unsigned before = h->quiesced;

	h_quiesce(h);
	while (h->quiesced == before) {
		bool moved = dma_complete_one(h);

		moved |= h_work(h);
		assert(moved);
	}
	assert(h->quiesced == before + 1 && !h->nr_pending);
	h->in_ctx = true;
	ioat_model.reset(h->priv, kind);
	h->in_ctx = false;
	h_run(h);
	assert(!h->nr_pending);
}

/* ---- being moved ---- */

void h_pause(struct harness *h)
{
	unsigned before = h->quiesced;

	h->paused = true;
	h_quiesce(h);
	/* What is given back may have been written, in part. */
	for (struct uvfio_dma *op = h->transfers.head; op; op = op->core[0]) {
		if (op->to_client && op->iova >= H_MEM_BASE &&
		    op->iova + op->len <= H_MEM_BASE + H_MEM_SIZE)
			memcpy(h_ptr(h, op->iova), op->buf, op->len / 2);
	}
	h_abandon_dma(h, -EPERM);
	assert(h->quiesced == before + 1 && !h->nr_pending);
}

void h_continue(struct harness *h)
{
	h->paused = false;
	if (h->bus_master)
		h_resume(h);
}

void h_move(struct harness *from, struct harness *to)
{
	struct model_stream s = {.nr = 0};
	struct uvfio_error err;
	uint8_t *mem = to->mem;
	int r;

	assert(from->paused);
	h_pause(to);
	from->in_ctx = to->in_ctx = true;
	model_stream_save(&s, ioat_model.migration, from->priv);
	r = model_stream_load(&s, ioat_model.migration, to->priv, &err);
	from->in_ctx = to->in_ctx = false;
	assert(!r);
	model_stream_drop(&s);
	to->mem = from->mem;
	from->mem = mem;
	to->alloc = from->alloc;
	memcpy(to->ring, from->ring, sizeof(to->ring));
	memcpy(to->cmp, from->cmp, sizeof(to->cmp));
	memcpy(to->head, from->head, sizeof(to->head));
	to->bus_master = from->bus_master;
	to->message = from->message;
	h_continue(to);
}

/* ---- life ---- */

static struct uvfio_error last_error;

const char *h_last_error(void)
{
	return last_error.msg;
}

bool h_late(void)
{
	return model_late("IOAT_TEST_DMA");
}

static void harness_free(struct harness *h)
{
	assert(!h->clock.timers);
	munmap(h->mem, H_MEM_SIZE);
	free(h);
}

struct harness *h_new(const char *args)
{
	struct harness *h = calloc(1, sizeof(*h));
	struct uvfio_option options[8];
	struct uvfio_args a = {options, 0};
	char *copy = strdup(args);
	int r;

	h->dev.h = h;
	h->mem = mmap(NULL, H_MEM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(h->mem != MAP_FAILED);
	h->alloc = H_MEM_BASE;
	h->clock = (struct model_clock){.in_ctx = &h->in_ctx, .strict = true};
	h->bus_master = true;
	h->message = true;
	h->late = h_late();
	a.nr_options = model_options(copy, options, 8);
	last_error.msg[0] = 0;
	r = ioat_model.create(&h->dev, &a, &h->priv, &last_error);
	free(copy);
	if (r) {
		assert(r < 0 && last_error.msg[0]);
		harness_free(h);
		return NULL;
	}
	h->in_ctx = true;
	ioat_model.reset(h->priv, UVFIO_RESET_POWER_ON);
	ioat_model.reset(h->priv, UVFIO_RESET_OPEN);
	h->in_ctx = false;
	h_run(h);
	return h;
}

void h_free(struct harness *h)
{
	h->hold_dma = false;
	h_reset(h, UVFIO_RESET_CLOSE);
	ioat_model.destroy(h->priv);
	harness_free(h);
}

uint64_t h_alloc(struct harness *h, size_t size, size_t align)
{
	uint64_t at = (h->alloc + align - 1) & ~(uint64_t)(align - 1);

	h->alloc = at + size;
	assert(h->alloc <= H_MEM_BASE + H_MEM_SIZE);
	return at;
}

void *h_ptr(struct harness *h, uint64_t iova)
{
	assert(iova >= H_MEM_BASE && iova < H_MEM_BASE + H_MEM_SIZE);
	return h->mem + (iova - H_MEM_BASE);
}

/* ---- the driver ---- */

void h_start(struct harness *h, unsigned ch)
{
	if (!h->ring[ch]) {
		h->ring[ch] = h_alloc(h, H_RING * sizeof(struct ioat_desc), 64);
		h->cmp[ch] = h_alloc(h, 8, 64);
	}
	for (unsigned i = 0; i < H_RING; i++) {
		struct ioat_desc *desc = h_ptr(h, h_desc_addr(h, ch, i));

		*desc = (struct ioat_desc){.next = h_desc_addr(h, ch, i + 1)};
	}
	memset(h_ptr(h, h->cmp[ch]), 0xee, 8);
	h->head[ch] = 0;
	h_write(h, CH(ch, IOAT_CHANERR), 4, 0xffffffff);
	h_write(h, CH(ch, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESET);
	h_run(h);
	h_write(h, CH(ch, IOAT_CHANCTRL), 2,
		IOAT_CHANCTRL_ERR_COMPLETE | IOAT_CHANCTRL_ERR_ABORT | IOAT_CHANCTRL_INT_DISABLE);
	h_write(h, CH(ch, IOAT_CHANCMP), 8, h->cmp[ch]);
	h_write(h, CH(ch, IOAT_CHAINADDR), 8, h->ring[ch]);
	assert(h_read(h, CH(ch, IOAT_CHANSTS), 8) == IOAT_ARMED);
}

struct ioat_desc *h_desc(struct harness *h, unsigned ch)
{
	struct ioat_desc *desc = h_ptr(h, h_desc_addr(h, ch, h->head[ch]));

	*desc = (struct ioat_desc){.next = h_desc_addr(h, ch, h->head[ch] + 1)};
	h->head[ch]++;
	return desc;
}

void h_copy(struct harness *h, unsigned ch, uint64_t src, uint64_t dst, uint32_t size,
	    uint32_t flags)
{
	struct ioat_desc *desc = h_desc(h, ch);

	desc->size = size;
	desc->control = flags | IOAT_OP_COPY << 24;
	desc->src = src;
	desc->dst = dst;
}

void h_ring(struct harness *h, unsigned ch)
{
	h_write(h, CH(ch, IOAT_DMACOUNT), 2, h->head[ch]);
	h_run(h);
}

uint64_t h_desc_addr(struct harness *h, unsigned ch, unsigned index)
{
	return h->ring[ch] + index % H_RING * sizeof(struct ioat_desc);
}

uint64_t h_completion(struct harness *h, unsigned ch)
{
	uint64_t value;

	memcpy(&value, h_ptr(h, h->cmp[ch]), sizeof(value));
	return value;
}

enum ioat_state h_state(struct harness *h, unsigned ch)
{
	return (enum ioat_state)(h_read(h, CH(ch, IOAT_CHANSTS), 8) & 7);
}
