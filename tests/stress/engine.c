/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device and its thread: batches of transfers, and in the midst of some of them a reset, or the
 * end of bus mastering.  When either has returned nothing of the device's may be under way: what it
 * could write to is filled with BYTE_QUIET, and stays so.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "stress/stress.h"

static const struct engine_ops *const kinds[NR_ENGINE_KINDS] = {
	[ENGINE_IOAT] = &ioat_ops,
	[ENGINE_PCITEST] = &pcitest_ops,
	[ENGINE_NVME] = &nvme_ops,
};

uint64_t engine_target(struct engine *e, uint32_t len, uint32_t align)
{
	unsigned windows = WINDOWS + (e->stress->peers.owner ? PEERS : 0);
	uint64_t at = stress_random(&e->seed) % ((uint64_t)windows * WINDOW_BYTES - len);

	return WINDOW_IOVA + (at & ~(uint64_t)align);
}

uint32_t engine_length(struct engine *e)
{
	static const uint32_t most[] = {64, 512, STRESS_PAGE, STRESS_PAGE, 16384, WINDOW_BYTES};

	return 1 + stress_below(&e->seed, most[stress_below(&e->seed, 6)]);
}

void engine_delivered(struct engine *e, const void *p, size_t len, const char *what)
{
	size_t at = stress_find(p, BYTE_GONE, len);

	e->stress->checks++;
	if (at < len)
		stress_bad(e->stress, "%s: byte %#zx of %s comes from memory that is not mapped",
			   e->name, at, what);
}

void engine_wait_irq(struct engine *e)
{
	struct pollfd p = {.fd = e->irq, .events = POLLIN};

	poll(&p, 1, 20);
	uvfio_pci_irq_take(e->irq);
}

static int open_device(struct engine *e, const char *name)
{
	struct uvfio_error err;
	int ret;

	/* Who has just closed it may have to wait until it is free. */
	for (unsigned i = 0; i < 3000; i++) {
		ret = uvfio_pci_open_in(e->stress->space, name, e->options, &e->dev, &err);
		if (e->stress->reconnect ||
		    (ret != -EBUSY && (ret != -EAGAIN || !e->stress->host_resets)))
			break;
		poll(NULL, 0, 10);
	}
	if (ret) {
		if (ret != -EAGAIN)
			fprintf(stderr, "stress: %s: %s\n", name, err.msg);
		e->dev = NULL;
		return ret;
	}
	ret = uvfio_pci_enable(e->dev, &err);
	if (!ret)
		ret = uvfio_pci_irq_enable(e->dev, UVFIO_PCI_MSIX, 0, 1, &e->irq);
	if (ret)
		fprintf(stderr, "stress: %s: MSI-X: %s\n", name, strerror(abs(ret)));
	return ret;
}

int engine_open_plain(struct engine *e, const char *name, size_t ring)
{
	struct uvfio_dma_space *space = e->stress->space;
	struct uvfio_error err;
	int ret;

	e->irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = open_device(e, name);
	if (ret)
		return ret;
	ret = uvfio_dma_space_alloc(space, MAX_BATCH * SINK_BYTES, UVFIO_PCI_DMA_RW, &e->sink,
				    &err);
	if (!ret)
		ret = uvfio_dma_space_alloc(space, WINDOW_BYTES, UVFIO_PCI_DMA_READ, &e->source,
					    &err);
	if (!ret)
		ret = uvfio_dma_space_alloc(space, ring, UVFIO_PCI_DMA_RW, &e->ring, &err);
	if (ret) {
		fprintf(stderr, "stress: %s: %s\n", name, err.msg);
		return ret;
	}
	memset(e->source.addr, BYTE_DEVICE, WINDOW_BYTES);
	return 0;
}

int engine_open(struct stress *s, const char *name, const char *options)
{
	struct engine *e = &s->engines[s->nr_engines];
	const char *device = strchr(name, '=');
	unsigned kind = 0;
	int ret;

	while (device && kind < NR_ENGINE_KINDS &&
	       (strlen(kinds[kind]->name) != (size_t)(device - name) ||
		strncmp(kinds[kind]->name, name, (size_t)(device - name)) != 0))
		kind++;
	if (!device || kind == NR_ENGINE_KINDS || s->nr_engines == MAX_ENGINES) {
		fprintf(stderr, "stress: %s: not KIND=DEVICE, or one too many\n", name);
		return 1;
	}
	e->stress = s;
	e->kind = (enum engine_kind)kind;
	e->irq = -1;
	e->seed = stress_random(&s->seed) | 1;
	snprintf(e->name, sizeof(e->name), "%s%s%s", name, options ? " " : "",
		 options ? options : "");
	snprintf(e->device, sizeof(e->device), "%s", device + 1);
	e->options = options;
	ret = kinds[kind]->open(e, e->device);
	if (!ret)
		ret = kinds[kind]->start(e);
	if (ret) {
		fprintf(stderr, "stress: %s: does not start: %s\n", name, strerror(abs(ret)));
		return 1;
	}
	s->nr_engines++;
	if (s->use_peers && kind == ENGINE_PCITEST && !s->peers.owner)
		s->peers.owner = e;
	return 0;
}

void engine_close(struct engine *e)
{
	kinds[e->kind]->close(e);
	if (e->irq >= 0 && e->kind != ENGINE_NVME)
		close(e->irq);
}

/* ---- quiet ---- */

static void check_quiet(struct engine *e, const char *after)
{
	size_t at = stress_other(e->sink.addr, BYTE_QUIET, e->sink.size);

	e->stress->checks++;
	if (at < e->sink.size)
		stress_bad(e->stress, "%s: wrote to byte %#zx of its sinks after %s", e->name, at,
			   after);
}

/* The device must be quiet from now on; give it some time to show that it is not. */
static void must_be_quiet(struct engine *e, const char *after)
{
	uint32_t id;

	memset(e->sink.addr, BYTE_QUIET, e->sink.size);
	for (unsigned i = 0; i < 8; i++) {
		if (uvfio_pci_config_read(e->dev, 0, 4, &id))
			stress_bad(e->stress, "%s: config space cannot be read", e->name);
	}
	check_quiet(e, after);
}

/* ---- for those that somebody else resets ---- */

/* A VF's hardware forgets all when its PF is reset, bus mastering and MSI-X included: what has to
 * be said again its user says. */
int engine_recover(struct engine *e)
{
	struct uvfio_error err;
	uint32_t command;
	int ret;

	if (!e->stress->host_resets)
		return 0;
	ret = uvfio_pci_config_read(e->dev, 4, 2, &command);
	if (ret || (command & 4))
		return ret;
	e->lost++;
	ret = uvfio_pci_enable(e->dev, &err);
	if (!ret)
		ret = uvfio_pci_irq_disable(e->dev, UVFIO_PCI_MSIX);
	return ret ? ret : uvfio_pci_irq_enable(e->dev, UVFIO_PCI_MSIX, 0, 1, &e->irq);
}

static int reset(struct engine *e)
{
	int ret;

	peers_hold(e);
	/* While somebody else resets it: try again (A.5). */
	do
		ret = uvfio_pci_reset(e->dev);
	while (ret == -EAGAIN && e->stress->host_resets);
	peers_let_go(e, PEERS_AWAY);
	if (ret)
		return ret;
	must_be_quiet(e, "a reset");
	e->sinks_quiet = true;
	e->resets++;
	return kinds[e->kind]->start(e);
}

static int stop(struct engine *e)
{
	struct uvfio_error err;
	int ret = uvfio_pci_disable_dma(e->dev, &err);

	if (ret)
		return ret;
	must_be_quiet(e, "the end of bus mastering");
	e->stops++;
	ret = uvfio_pci_enable(e->dev, &err);
	return ret ? ret : kinds[e->kind]->stopped(e);
}

/* ---- for those whose memory others have mapped ---- */

/* Its memory goes, and comes back. */
static int hide(struct engine *e)
{
	enum away which;
	int ret;

	peers_hold(e);
	ret = away_once(e, &which);
	peers_let_go(e, PEERS_AWAY);
	if (ret || (which != AWAY_FLR && which != AWAY_HOT && which != AWAY_D3))
		return ret;
	/* FLR is left out when somebody else resets it (A.7). */
	if (!e->stress->host_resets) {
		must_be_quiet(e, away_names[which]);
		e->sinks_quiet = true;
	}
	return kinds[e->kind]->start(e);
}

/* The last close, with a batch under way, and another open. */
static int reopen(struct engine *e)
{
	struct stress *s = e->stress;
	bool replaced;
	int ret = 0;

	peers_hold(e);
	replaced = s->mishap && s->mishap(e);
	peers_before_close(e, replaced);
	uvfio_pci_close(e->dev);
	e->dev = NULL;
	do {
		if (s->reconnect)
			ret = s->reconnect(e, e->device, sizeof(e->device));
		if (!ret)
			ret = open_device(e, e->device);
	} while (ret == -EAGAIN && s->host_resets);
	peers_let_go(e, ret ? PEERS_NOTHING : replaced ? PEERS_REPLACED : PEERS_CLOSED);
	if (ret)
		return ret;
	e->replaced += replaced;
	must_be_quiet(e, "its close");
	e->reopens++;
	return kinds[e->kind]->start(e);
}

/* ---- the thread ---- */

static int turn(struct engine *e)
{
	const struct engine_ops *ops = kinds[e->kind];
	unsigned chance = stress_below(&e->seed, 256);
	int ret, again;

	if (e->sinks_quiet)
		check_quiet(e, "a reset");
	e->sinks_quiet = false;
	ret = ops->begin(e);
	if (ret)
		return ret;
	e->turns++;
	if (chance == 0)
		return reset(e);
	if (chance == 2 && e->stress->peers.owner == e)
		return reopen(e);
	if ((chance == 3 || chance == 4) && e->stress->peers.owner == e)
		ret = hide(e);
	if (ret)
		return ret;
	if (chance == 1) {
		ret = stop(e);
		if (ret)
			return ret;
	}
	ret = ops->wait(e);
	if (ret < 0)
		return ret;
	ops->look(e);
	/* Where it stops at an error it goes on from the start. */
	again = ret;
	ret = engine_recover(e);
	return !again || ret ? ret : ops->start(e);
}

void *engine_run(void *arg)
{
	struct engine *e = arg;

	while (!e->stress->stop) {
		int ret = turn(e);

		if (ret) {
			stress_bad(e->stress, "%s: %s", e->name, strerror(abs(ret)));
			break;
		}
	}
	return NULL;
}
