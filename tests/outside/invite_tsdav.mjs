// tsdav invites somebody who has no account here, and waits for the answer; run by test_mail_in.py, which is the guest.
// Uses the shared common.mjs (in CLIENTS). Environment: DAV_URL DAV_USER DAV_PASSWORD; GUEST: the mail address of the
// guest; UID: of the meeting. Covers: the program's own PUT with an attendee, the delivery status and the answer that the
// server writes into the object, by a sync that the program begins from its token.
const { check, env, load, main, step } = await import(`${process.env.CLIENTS}/common.mjs`);

const { GUEST, UID } = process.env;
const stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
const meeting = [
  'BEGIN:VCALENDAR', 'VERSION:2.0', 'PRODID:-//tsdav//EN', 'BEGIN:VEVENT', `UID:${UID}`, `DTSTAMP:${stamp}`,
  `CREATED:${stamp}`, 'DTSTART:20350607T100000Z', 'DURATION:PT1H', 'SUMMARY:By tsdav ü',
  `ORGANIZER;CN=Olga:mailto:${env.DAV_USER}`, `ATTENDEE;PARTSTAT=ACCEPTED:mailto:${env.DAV_USER}`,
  `ATTENDEE;CN=Bob;RSVP=TRUE;PARTSTAT=NEEDS-ACTION:mailto:${GUEST}`, 'END:VEVENT', 'END:VCALENDAR', '',
].join('\r\n');

await main('tsdav-invite', async () => {
  const { DAVClient } = await load('tsdav');
  const client = new DAVClient({ serverUrl: env.DAV_URL, authMethod: 'Basic', defaultAccountType: 'caldav',
    credentials: { username: env.DAV_USER, password: env.DAV_PASSWORD } });
  await client.login();
  const calendar = (await client.fetchCalendars()).find((one) => one.url.endsWith('/calendar/'));
  check(calendar, 'the default calendar is not listed');

  await step('invite');
  const made = await client.createCalendarObject({ calendar, filename: `${UID}.ics`, iCalString: meeting });
  check(made.ok, `PUT answered ${made.status}`);
  const read = async () => {
    const found = await client.fetchCalendarObjects({ calendar, objectUrls: [`${calendar.url}${UID}.ics`] });
    return (found[0]?.data ?? '').replace(/\r?\n[ \t]/g, '').split(/\r?\n/)
      .find((line) => line.startsWith('ATTENDEE') && line.endsWith(`:mailto:${GUEST}`)) ?? '';
  };
  const until = async (what, wanted) => {
    let line = '';
    for (let n = 0; n < 120; n += 1) {
      line = await read();
      if (wanted.test(line)) return line;
      await new Promise((go) => setTimeout(go, 500));
    }
    throw new Error(`${what}: ${line}`);
  };
  await step('sent');
  console.log('  ', await until('it was not sent', /SCHEDULE-STATUS="?1\.1/));
  await step('answered');
  console.log('  ', await until('there is no answer', /PARTSTAT=ACCEPTED/));
});
