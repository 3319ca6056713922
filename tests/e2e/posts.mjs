// The posts that the tests put into the feed: an invented town on a stormy day, minutes before now.

const minutesAgo = (minutes) => new Date(Date.now() - minutes * 60_000).toISOString();

const TOLD = [
  [42, 'harbour_watch', 'Harbour Watch', 'Varnholm harbour closes to all ferries from 17:00. Gusts of 104 km/h were measured at the north mole this afternoon.'],
  [38, 'mlindqvist', 'Mara Lindqvist', 'The queue at the Varnholm ferry terminal is three hours long and nobody knows whether the last boat runs.'],
  [31, 'coastguard_north', 'Coastguard North', 'Correction: the strongest gust at the north mole was 98 km/h, not 104 km/h. Varnholm harbour stays closed until at least 06:00 tomorrow.'],
  [27, 'orbitdesk', 'Orbit Desk', 'Keldan Aerospace moves the launch of the Petrel rocket to Thursday at 04:10 because of upper winds over the Skarra range.'],
  [24, 'norrland_votes', 'Norrland Votes', 'With 41 of 60 districts counted in the Norrland water referendum, yes leads with 52.8 percent. Turnout stands at 61 percent.'],
  [19, 'fc_tarn', 'FC Tarn', 'Full time: FC Tarn beat Sverre United 2-1. Okafor scored the winner in the 88th minute.'],
  [15, 'gridnews', 'Grid News', 'Power is back in 3,200 of 9,000 homes in East Varnholm, says Halden Energy.'],
  [6, 'halden_energy', 'Halden Energy', 'We have restored power to 5,100 of 9,000 homes in East Varnholm. Crews go on as long as it is safe.'],
  [3, 'ruben_k', '', 'Landed in Tarn. The city is loud tonight. Okafor, what a player.'],
];

/// The telling posts, oldest first, then `chatter` that says nothing of note.
export function townPosts(chatter = 20) {
  const told = TOLD.map(([minutes, handle, name, text], i) => ({
    id: `town-${i + 1}`, source: 'api', author: { handle, name: name || undefined }, text, lang: 'en',
    created_at: minutesAgo(minutes), url: `https://posts.example.org/${handle}/${i + 1}`, metrics: { likes: 3 * i },
  }));
  const idle = Array.from({ length: chatter }, (_, i) => ({
    id: `idle-${i}`, source: 'api', author: { handle: `neighbour${i}` }, text: `Tea number ${i} of the day, and the cat is asleep again.`,
    created_at: minutesAgo(60 + i), url: `https://posts.example.org/idle/${i}`,
  }));
  return [...idle, ...told];
}

export function onePost(id, text, extra = {}) {
  return { id, source: 'api', author: { handle: 'tester', name: 'A Tester' }, text, created_at: new Date().toISOString(),
    url: `https://posts.example.org/tester/${id}`, ...extra };
}
