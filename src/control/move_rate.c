/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A limit of bandwidth: a bucket that fills at it, and holds a tenth of a second of it.  Time is
 * what the caller says it is.
 */
#include "control/move.h"

#define SECOND      1000000000u
#define FRAME_LEAST 512u

static uint64_t room(const struct move_rate *rate)
{
	uint64_t tenth = rate->bandwidth / 10;

	return tenth < FRAME_LEAST ? FRAME_LEAST : tenth;
}

size_t move_rate_frame(const struct move_rate *rate)
{
	if (!rate->bandwidth || room(rate) > MOVE_PAYLOAD_MAX)
		return MOVE_PAYLOAD_MAX;
	return (size_t)room(rate);
}

uint64_t move_rate_take(struct move_rate *rate, uint64_t now, size_t bytes)
{
	uint64_t lacking;

	if (!rate->bandwidth)
		return 0;
	if (!rate->last)
		rate->last = now;
	/* What does not make a byte yet counts the next time. */
	if (now > rate->last) {
		uint64_t ns = now - rate->last;
		unsigned __int128 made = (unsigned __int128)ns * rate->bandwidth / SECOND;

		if (made > room(rate))
			made = room(rate);
		if (made) {
			rate->credit += (uint64_t)made;
			rate->last = now;
		}
		if (rate->credit > room(rate))
			rate->credit = room(rate);
	}
	if (bytes <= rate->credit) {
		rate->credit -= bytes;
		return 0;
	}
	lacking = bytes - rate->credit;
	return (uint64_t)(((unsigned __int128)lacking * SECOND + rate->bandwidth - 1) /
			  rate->bandwidth);
}
