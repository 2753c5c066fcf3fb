/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registry against a model of it that is as simple as can be: arrays, searched from end to end. After each of many random
 * steps both have the same regions, the same sums and the same answer. Where uses are equal, the registry chooses the oldest.
 */
#include "config.h"

#include "tests/registry-fixture.h"

#define N_STEPS    1000000
#define N_USERS    3
#define N_PATHS    5
#define MAX_PAGES  18
#define MAX_LEASES 40
#define N_REGIONS  64 /* bits in a set of regions */

#define LIMIT_PAGES   12
#define LIMIT_HANDLES 3
#define LIMIT_MAPS    7
#define MOST_AHEAD    3 /* half of the windows for which there is memory */

/* ---- the model ---- */

static struct model_file {
	uint64_t id;    /* 0: not open */
	uint64_t pages; /* as the registry has seen it */
	uint64_t disk;
	uint64_t last_used; /* when it was asked for while it had no region, or one that is gone was used */
} files[N_PATHS];

static struct model_region {
	uint64_t pages; /* 0: not used */
	int file;
	uint64_t window;
	uint64_t last_used;
	bool draining, detached, coming, unmapped;
	const struct region *real;
} regions[N_REGIONS];

static struct model_lease {
	bool used;
	uint64_t regions; /* a bit for each; none is left when they were handed over to an heir */
	int heir;         /* the lease that can be mapped when this one is unmapped; -1: none */
	int n_awaited;    /* leases that have to go before */
	uint64_t excess_pages, excess_maps; /* what was given up for it, and it does not need, while they are there */
	uint64_t end;     /* its last page in the file, and one */
	uint64_t n_ahead; /* windows that were not asked for */
	int user;
	struct slot_ref ref;
	int n_pins;
	uint64_t last_used;
	bool recalled, told, claimed, stale;
} leases[MAX_LEASES];

static uint64_t opened[N_USERS][N_PATHS];
static int step;
static uint64_t epoch_before; /* a grant, which advances it */
static uint64_t evicted_use; /* of the last that was evicted in this step */

static bool is_on(const struct model_lease *held, int r)
{
	return held->regions >> r & 1;
}

static uint64_t n_pages(bool only_draining)
{
	uint64_t n = 0;

	for (int r = 0; r < N_REGIONS; r++)
		n += regions[r].draining || !only_draining ? regions[r].pages : 0;
	for (int l = 0; l < MAX_LEASES; l++)
		n += leases[l].excess_pages;
	return n;
}

static uint64_t n_maps(bool only_draining)
{
	uint64_t n = 0;

	for (int r = 0; r < N_REGIONS; r++)
		n += regions[r].pages && (regions[r].draining || !only_draining);
	for (int l = 0; l < MAX_LEASES; l++)
		n += leases[l].excess_maps;
	return n;
}

static uint64_t n_ahead(void)
{
	uint64_t n = 0;

	for (int l = 0; l < MAX_LEASES; l++)
		n += leases[l].n_ahead;
	return n;
}

static int n_regions(int file, bool only_live)
{
	int n = 0;

	for (int r = 0; r < N_REGIONS; r++)
		n += regions[r].pages && regions[r].file == file && !(only_live && regions[r].draining);
	return n;
}

static int find_region(int file, uint64_t window)
{
	for (int r = 0; r < N_REGIONS; r++)
		if (regions[r].pages && !regions[r].detached && regions[r].file == file && regions[r].window == window)
			return r;
	return -1;
}

static uint64_t window_pages(int file, uint64_t window)
{
	return min_u64(2, files[file].pages - 2 * window);
}

static void settle(int r)
{
	int file = regions[r].file;

	for (int l = 0; l < MAX_LEASES; l++)
		if (is_on(&leases[l], r))
			return;
	if (!regions[r].draining && !regions[r].detached && !regions[r].unmapped)
		return;
	files[file].last_used = max_u64(files[file].last_used, regions[r].last_used);
	regions[r] = (struct model_region){0};
}

static void give_up(struct model_lease *lease, uint64_t which)
{
	lease->regions &= ~which;
	for (int r = 0; r < N_REGIONS; r++) {
		if (!(which >> r & 1))
			continue;
		regions[r].last_used = max_u64(regions[r].last_used, lease->last_used);
		settle(r);
	}
}

/* The regions of a lease are not coming any more; if they are mapped now, they are there. */
static void arrive(struct model_lease *lease, bool mapped)
{
	lease->excess_pages = lease->excess_maps = 0;
	for (int r = 0; r < N_REGIONS; r++) {
		if (!is_on(lease, r))
			continue;
		regions[r].coming = false;
		regions[r].unmapped = regions[r].unmapped && !mapped;
	}
}

/* Nothing is awaited for a lease any more. */
static void disinherit(struct model_lease *heir)
{
	if (heir->n_awaited)
		arrive(heir, false);
	heir->n_awaited = 0;
	for (int l = 0; l < MAX_LEASES; l++)
		if (leases[l].used && leases[l].heir >= 0 && &leases[leases[l].heir] == heir)
			leases[l].heir = -1;
}

static void end_lease(struct model_lease *ended)
{
	disinherit(ended);
	if (ended->heir >= 0 && !--leases[ended->heir].n_awaited)
		arrive(&leases[ended->heir], true);
	give_up(ended, ended->regions);
	*ended = (struct model_lease){0};
}

static bool model_is_pinned(int r)
{
	for (int l = 0; l < MAX_LEASES; l++)
		if (is_on(&leases[l], r) && leases[l].n_pins)
			return true;
	return false;
}

static uint64_t last_used(int r)
{
	uint64_t use = regions[r].last_used;

	for (int l = 0; l < MAX_LEASES; l++)
		if (is_on(&leases[l], r))
			use = max_u64(use, leases[l].last_used);
	return use;
}

static void evict(int r)
{
	regions[r].draining = true;
	for (int l = 0; l < MAX_LEASES; l++)
		if (is_on(&leases[l], r))
			leases[l].recalled = true;
	settle(r);
}

/* Whether the registry still has it in its order. Its memory may be another's by now. */
static bool is_live(const struct model_region *region)
{
	const struct file *file = file_find(&registry, files[region->file].id);
	const struct region *real = NULL;

	if (!file)
		return false;
	if (region->detached)
		DL_SEARCH_SCALAR(file->detached, real, window, region->window);
	while (region->detached && real && real != region->real)
		real = real->next;
	if (!region->detached)
		real = region_find(file, region->window);
	return real && real == region->real && real->window == region->window && !real->draining;
}

/*
 * Evicts the oldest that nothing pins and that is not in the range. False if there is none. @if_tied: only one that the registry
 * has taken before another of the same age, which alone would have been enough.
 */
static bool evict_oldest(int file, uint64_t first, uint64_t last, bool if_tied)
{
	int oldest = -1;

	for (int r = 0; r < N_REGIONS; r++) {
		const struct model_region *region = &regions[r];

		if (!region->pages || region->draining || model_is_pinned(r))
			continue;
		if (region->file == file && !region->detached && region->window >= first && region->window <= last)
			continue;
		if (oldest < 0 || last_used(r) < last_used(oldest) || (last_used(r) == last_used(oldest) && is_live(&regions[oldest])))
			oldest = r;
	}
	if (oldest < 0 || (if_tied && (last_used(oldest) != evicted_use || is_live(&regions[oldest]))))
		return false;
	evicted_use = last_used(oldest);
	evict(oldest);
	return true;
}

static bool fits(uint64_t pages, uint64_t maps)
{
	return pages <= LIMIT_PAGES && maps <= LIMIT_MAPS;
}

/* Whether a region goes when the user has unmapped what it was not told of yet. */
static bool goes_with(int user, int r)
{
	for (int l = 0; l < MAX_LEASES; l++)
		if (is_on(&leases[l], r) && !(leases[l].user == user && leases[l].recalled && !leases[l].told))
			return false;
	return regions[r].draining || regions[r].detached;
}

/* Whether there is room once the user has unmapped that. */
static bool fits_without(int user, int file, uint64_t first, uint64_t last, uint64_t pages, uint64_t maps)
{
	for (int r = 0; r < N_REGIONS; r++) {
		bool stays = regions[r].file == file && regions[r].window >= first && regions[r].window <= last && !regions[r].detached;

		if (goes_with(user, r) && !stays) {
			pages -= regions[r].pages;
			maps--;
		}
	}
	return fits(pages, maps);
}

/* Leases that reach past the end are stale for good, and taken back as soon as nothing pins them. */
static void cut(int r)
{
	for (int l = 0; l < MAX_LEASES; l++) {
		if (!is_on(&leases[l], r) || (leases[l].end <= files[regions[r].file].pages && !leases[l].stale))
			continue;
		leases[l].stale = true;
		if (!leases[l].n_pins)
			leases[l].recalled = true;
	}
}

static void refresh(int file)
{
	files[file].pages = files[file].disk;
	for (int r = 0; r < N_REGIONS; r++) {
		struct model_region *region = &regions[r];
		bool reached = 2 * region->window < files[file].pages && region->pages <= window_pages(file, region->window);

		if (!region->pages || region->file != file || (reached && !region->detached))
			continue;
		region->detached = true;
		cut(r);
		settle(r);
	}
}

static struct model_lease *lease_of(int user, const struct slot_ref *ref)
{
	for (int l = 0; l < MAX_LEASES; l++)
		if (leases[l].used && leases[l].user == user && leases[l].ref.slot == ref->slot &&
		    leases[l].ref.generation == ref->generation)
			return &leases[l];
	ck_abort_msg("there is no such lease");
}

static int n_untold(int user)
{
	int n = 0;

	for (int l = 0; l < MAX_LEASES; l++)
		n += leases[l].used && leases[l].user == user && leases[l].recalled && !leases[l].told;
	return n;
}

/* All that are recalled and not told. As long as too much is counted their regions are given up, in the order of the list and of the file. */
static void take_victims(int user, struct model_lease *heir, uint64_t pages_needed, uint64_t maps_needed)
{
	uint64_t gone = 0, pages = n_pages(false), maps = n_maps(false);

	ck_assert_int_eq((int)victims.n, n_untold(user));
	for (int r = 0; r < N_REGIONS; r++)
		gone |= (uint64_t)goes_with(user, r) << r;
	for (uint32_t i = 0; i < victims.n; i++) {
		struct model_lease *victim = lease_of(user, &victims.refs[i]);

		for (uint64_t window = 0; window < MAX_PAGES; window++)
			for (int r = 0; r < N_REGIONS; r++)
				if (is_on(victim, r) && regions[r].window == window && gone >> r & 1 && !fits(n_pages(false), n_maps(false)))
					give_up(victim, UINT64_C(1) << r);
	}
	pages -= n_pages(false);
	maps -= n_maps(false);
	for (uint32_t i = 0; i < victims.n; i++) {
		struct model_lease *victim = lease_of(user, &victims.refs[i]);

		ck_assert(victim->recalled && !victim->told);
		victim->told = true;
		disinherit(victim);
		victim->heir = (int)(heir - leases);
		heir->n_awaited++;
	}
	heir->excess_pages = pages > pages_needed ? pages - pages_needed : 0;
	heir->excess_maps = maps > maps_needed ? maps - maps_needed : 0;
}

static int new_region(int file, uint64_t window)
{
	for (int r = 0; r < N_REGIONS; r++) {
		if (regions[r].pages)
			continue;
		regions[r] = (struct model_region){
			.pages = 1,
			.file = file,
			.window = window,
			.unmapped = true,
			.real = region_of(files[file].id, window),
		};
		return r;
	}
	ck_abort_msg("too many regions");
}

static void grant_lease(int user, int file, uint64_t first, uint64_t last, bool must_unmap, uint64_t pages, uint64_t maps)
{
	struct model_lease *new = leases;

	while (new->used)
		new++;
	*new = (struct model_lease){.used = true, .user = user, .ref = grant.lease->ref, .n_pins = 1, .heir = -1};
	new->end = min_u64(2 * last + 2, files[file].pages);
	for (uint64_t window = first; window <= last; window++) {
		int r = find_region(file, window);

		if (r < 0)
			r = new_region(file, window);
		else
			regions[r].unmapped = regions[r].unmapped || regions[r].pages < window_pages(file, window);
		regions[r].pages = window_pages(file, window);
		regions[r].last_used = pulse_instant(pulse_epoch(pulse));
		new->regions |= UINT64_C(1) << r;
	}
	if (must_unmap)
		take_victims(user, new, pages, maps);
	else
		ck_assert_uint_eq(victims.n, 0);
	for (int r = 0; r < N_REGIONS; r++) {
		if (!is_on(new, r))
			continue;
		regions[r].coming = regions[r].unmapped && must_unmap;
		regions[r].unmapped = regions[r].coming;
	}
	ck_assert_uint_eq(grant.lease->offset, first * WINDOW);
	ck_assert_uint_eq(grant.lease->length, min_u64((last + 1) * WINDOW, files[file].pages * PAGE) - first * WINDOW);
}

static void touch(int file)
{
	if (!n_regions(file, false))
		files[file].last_used = max_u64(files[file].last_used, pulse_instant(epoch_before));
}

/* What registry_lease() should have answered. */
static int model_lease(int user, int file, const struct lease_request *request)
{
	uint64_t first, last, asked, ahead, pages = 0, maps = 0, revived_pages = 0, revived_maps = 0;
	bool must_unmap, awaits = false;

	if (opened[user][file] != files[file].id) {
		opened[user][file] = 0;
		return REGISTRY_REOPEN;
	}
	touch(file);
	refresh(file);
	if (request->offset >= files[file].pages * PAGE)
		return 0;
	first = request->offset / WINDOW;
	last = (min_u64(request->offset + request->length, files[file].pages * PAGE) - 1) / WINDOW;
	if (!fits(min_u64(2 * last + 2, files[file].pages) - 2 * first, last - first + 1))
		return -EFBIG;

	for (uint64_t window = first; window <= last; window++) {
		int r = find_region(file, window);

		if (r >= 0 && regions[r].draining) {
			revived_pages += regions[r].pages;
			revived_maps++;
		}
		pages += window_pages(file, window) - (r < 0 ? 0 : regions[r].pages);
		maps += r < 0;
		awaits = awaits || (r >= 0 && regions[r].coming);
	}
	if (awaits || (pages && !request->in_turn))
		return REGISTRY_NO_ROOM;
	/* What is asked for is used now, if room has to be made for it. */
	for (uint64_t window = first; window <= last; window++)
		if (!fits(n_pages(false) + pages, n_maps(false) + maps) && find_region(file, window) >= 0)
			regions[find_region(file, window)].last_used = pulse_instant(epoch_before + 1);
	while (!fits(n_pages(false) - (n_pages(true) - revived_pages) + pages, n_maps(false) - (n_maps(true) - revived_maps) + maps))
		if (!evict_oldest(file, first, last, false))
			break;
	while (evict_oldest(file, first, last, true))
		;
	must_unmap = !fits(n_pages(false) + pages, n_maps(false) + maps);
	if (must_unmap && !fits_without(user, file, first, last, n_pages(false) + pages, n_maps(false) + maps))
		return REGISTRY_NO_ROOM;
	asked = last;
	ahead = must_unmap || !request->in_turn || pulse_waits(pulse) ? 0 : min_u64(request->ahead, MOST_AHEAD - n_ahead());
	for (uint64_t n = ahead; n && 2 * last + 2 < files[file].pages; n--) {
		int r = find_region(file, last + 1);

		pages += window_pages(file, last + 1) - (r < 0 ? 0 : regions[r].pages);
		maps += r < 0;
		if ((r >= 0 && (regions[r].draining || regions[r].coming)) || !fits(n_pages(false) + pages, n_maps(false) + maps))
			break;
		last++;
	}
	for (uint64_t window = first; window <= last; window++)
		if (find_region(file, window) >= 0)
			regions[find_region(file, window)].draining = false;
	grant_lease(user, file, first, last, must_unmap, pages, maps);
	lease_of(user, &grant.lease->ref)->n_ahead = last - asked;
	return 0;
}

static int n_handles(void)
{
	int n = 0;

	for (int file = 0; file < N_PATHS; file++)
		n += files[file].id != 0;
	return n;
}

/* Of the files without a region the one that was used the longest ago, -1 if there is none. */
static int barest(void)
{
	int bare = -1;

	for (int file = 0; file < N_PATHS; file++) {
		if (!files[file].id || n_regions(file, false))
			continue;
		if (bare < 0 || files[file].last_used < files[bare].last_used ||
		    (files[file].last_used == files[bare].last_used && file_find(&registry, files[bare].id)))
			bare = file;
	}
	return bare;
}

static bool is_one_emptying(void)
{
	for (int file = 0; file < N_PATHS; file++)
		if (n_regions(file, false) && !n_regions(file, true))
			return true;
	return false;
}

/* Whether a file without a region is older than all regions that nothing pins. */
static bool is_bare_oldest(void)
{
	int bare = barest();

	for (int r = 0; r < N_REGIONS && bare >= 0; r++)
		if (regions[r].pages && !regions[r].draining && !model_is_pinned(r) && last_used(r) < files[bare].last_used)
			return false;
	return bare >= 0;
}

static int model_open(int user, int file, uint64_t id)
{
	if (!files[file].id) {
		if (n_handles() == LIMIT_HANDLES) {
			while (!is_bare_oldest() && !is_one_emptying() && evict_oldest(-1, 0, 0, false))
				;
			while (evict_oldest(-1, 0, 0, true))
				;
			if (!is_bare_oldest())
				return REGISTRY_NO_ROOM;
			files[barest()].id = 0;
			epoch_before++;
		}
		files[file] = (struct model_file){
			.id = id,
			.pages = files[file].disk,
			.disk = files[file].disk,
			.last_used = pulse_instant(epoch_before),
		};
	} else {
		touch(file);
		refresh(file);
	}
	opened[user][file] = files[file].id;
	return 0;
}

/* ---- steps ---- */

/* After registry_close(). */
static void close_model(int user, int file)
{
	if (opened[user][file] && opened[user][file] == files[file].id)
		refresh(file);
	opened[user][file] = 0;
}

static int pick(int n)
{
	return (int)(harness_random() % (uint64_t)n);
}

static void change_disk(int file)
{
	char name[2] = {(char)('a' + file), '\0'};

	files[file].disk = harness_random() % (MAX_PAGES + 1);
	ck_assert_int_eq(truncate(name, (off_t)(files[file].disk * PAGE)), 0);
}

static void step_open(int user, int file)
{
	char name[2] = {(char)('a' + file), '\0'};
	uint64_t id = 0;
	int r;

	/* Opened again only after it was closed, to have it simple; an id is not kept beyond that. */
	if (opened[user][file]) {
		ck_assert_int_eq(registry_close(&registry, &users[user].client, opened[user][file]), 0);
		close_model(user, file);
		return;
	}
	epoch_before = pulse_epoch(pulse);
	r = try_open(&users[user], name, &local, &id);
	ck_assert_int_eq(r, model_open(user, file, id));
	ck_assert_uint_eq(opened[user][file], id);
}

static void step_lease(int user, int file)
{
	struct lease_request request = {
		.file = opened[user][file],
		.offset = harness_random() % ((MAX_PAGES + 1) * PAGE),
		.length = 1 + harness_random() % (pick(4) ? WINDOW : 8 * WINDOW),
		.ahead = (uint64_t)pick(3),
		.in_turn = pick(8) > 0,
	};
	bool is_free = false;
	int r;

	for (int l = 0; l < MAX_LEASES; l++)
		is_free = is_free || !leases[l].used;
	if (!request.file || !is_free)
		return;
	epoch_before = pulse_epoch(pulse);
	r = ask(&users[user], &request);
	ck_assert_int_eq(r, model_lease(user, file, &request));
}

static void unpin_model(struct model_lease *pinned)
{
	struct user *user = &users[pinned->user];

	pinned->last_used = pulse_use(pulse, &user->last);
	board_unpin(slot_of(user, pinned->ref), pinned->last_used);
	pinned->n_pins--;
}

static void step_pin(struct model_lease *of)
{
	bool pinned = pin(&users[of->user], of->ref);

	ck_assert_int_eq(pinned, !of->recalled && !of->claimed && !of->stale);
	of->n_pins += pinned;
}

/* The user unmaps what was recalled or is idle. */
static void step_release(struct model_lease *of)
{
	struct user *user = &users[of->user];

	if (of->n_pins)
		return;
	if (!of->recalled && !of->claimed) {
		ck_assert_int_eq(board_claim(slot_of(user, of->ref), BOARD_CLIENT), BOARD_CLAIM_WON);
		of->claimed = true;
		if (pick(2))
			return;
	}
	/* What an answer has named may be marked instead. */
	if (client_find_lease(&user->client, &of->ref)->named && pick(2)) {
		board_mark_unmapped(slot_of(user, of->ref));
		registry_look_for_marks(&registry, &user->client);
		ck_assert(!release(user, of->ref));
	} else {
		ck_assert(release(user, of->ref));
	}
	end_lease(of);
}

static void step_collect(int user)
{
	uint64_t bytes = 0, maps = 0, pages = 0, n = 0;
	bool drains = false;

	registry_evict_files(&registry, &users[user].client, NULL, &bytes, &maps);
	for (int r = 0; r < N_REGIONS; r++) {
		if (!regions[r].pages || regions[r].detached || regions[r].draining || model_is_pinned(r))
			continue;
		pages += regions[r].pages;
		n++;
		evict(r);
	}
	ck_assert_uint_eq(bytes, pages * PAGE);
	ck_assert_uint_eq(maps, n);
	if (pick(2))
		return;
	for (int r = 0; r < N_REGIONS; r++)
		drains = drains || regions[r].draining;
	ck_assert_int_eq(registry_close_files(&registry, &users[user].client, NULL), drains);
	for (int file = 0; file < N_PATHS; file++)
		if (!n_regions(file, false))
			files[file].id = 0;
}

static void step_tell(int user)
{
	tell(&users[user]);
	for (int l = 0; l < MAX_LEASES; l++)
		leases[l].told = leases[l].told || (leases[l].user == user && leases[l].recalled);
}

static void step_end(int user)
{
	for (int l = 0; l < MAX_LEASES; l++)
		while (leases[l].used && leases[l].user == user && leases[l].n_pins)
			unpin_model(&leases[l]);
	remove_user(&users[user]);
	for (uint32_t slot = 0; slot <= MAX_LEASES; slot++)
		for (int l = 0; l < MAX_LEASES; l++)
			if (leases[l].used && leases[l].user == user && leases[l].ref.slot == slot)
				end_lease(&leases[l]);
	for (int file = 0; file < N_PATHS; file++)
		close_model(user, file);
	add_user(&users[user], 1000);
}

/* One of the leases; a free one if there is none. */
static struct model_lease *pick_lease(void)
{
	int first = pick(MAX_LEASES), i = 0;

	while (i < MAX_LEASES - 1 && !leases[(first + i) % MAX_LEASES].used)
		i++;
	return &leases[(first + i) % MAX_LEASES];
}

static void take_step(void)
{
	struct model_lease *some = pick_lease();
	int user = pick(N_USERS), file = pick(N_PATHS), what = pick(100);

	evicted_use = 0;
	if (what < 30)
		step_lease(user, file);
	else if (what < 45)
		step_open(user, file);
	else if (what < 47)
		change_disk(file);
	else if (what < 50)
		pulse_advance(pulse);
	else if (what < 54)
		step_tell(user);
	else if (what < 55)
		step_collect(user);
	else if (what < 56)
		step_end(user);
	else if (!some->used)
		return;
	else if (what < 62)
		step_pin(some);
	else if (what < 88 && some->n_pins)
		unpin_model(some);
	else if (what >= 88)
		step_release(some);
}

static void assert_same(void)
{
	uint64_t n_live = registry.order.n, n_leases = 0;

	for (int r = 0; r < N_REGIONS; r++) {
		const struct model_region *region = &regions[r];

		if (!region->pages)
			continue;
		ck_assert_int_eq(is_live(region), !region->draining);
		if (!region->detached)
			ck_assert_ptr_eq(region_of(files[region->file].id, region->window), region->real);
		ck_assert_uint_eq(region->real->length, region->pages * PAGE);
		ck_assert_int_eq(region->real->coming, region->coming);
		ck_assert_int_eq(region->real->mapped < region->real->length, region->unmapped);
		n_live -= !region->draining;
	}
	ck_assert_uint_eq(n_live, 0);
	for (int file = 0; file < N_PATHS; file++)
		ck_assert(!files[file].id || file_find(&registry, files[file].id));
	for (int l = 0; l < MAX_LEASES; l++)
		n_leases += leases[l].used;

	assert_usage(n_pages(false), n_maps(false), (uint64_t)n_handles());
	ck_assert_uint_eq(registry.usage.draining, n_pages(true) * PAGE);
	ck_assert_uint_eq(registry.usage.draining_maps, n_maps(true));
	ck_assert_uint_eq(registry.usage.leases, n_leases);
	assert_limits();
}

START_TEST(test_random_steps)
{
	start(LIMIT_PAGES * PAGE, LIMIT_HANDLES, LIMIT_MAPS);
	for (int file = 0; file < N_PATHS; file++) {
		harness_make_file((char[2]){(char)('a' + file), '\0'}, 0);
		change_disk(file);
	}
	for (step = 0; step < N_STEPS; step++) {
		take_step();
		assert_same();
	}
	/* It was not all refusals. */
	ck_assert_uint_gt(registry.counters.grants, N_STEPS / 50);
	ck_assert_uint_gt(registry.counters.evictions, N_STEPS / 100);
	stop();
}
END_TEST

Suite *suite(void);

Suite *suite(void)
{
	Suite *s = suite_create("registry-model");

	HARNESS_CASE(s, "model", test_random_steps);
	return s;
}

int main(void)
{
	return harness_run(suite());
}
