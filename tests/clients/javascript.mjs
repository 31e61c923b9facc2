// rqlite-js as an application uses it. Started by run.py, which says in RQ_TOLD where the nodes are.
import assert from 'node:assert/strict'
import http from 'node:http'
import { createRequire } from 'node:module'
import readline from 'node:readline'

const require = createRequire(`${process.env.RQ_MODULES}/`)
const { DataApiClient, BackupApiClient, StatusApiClient } = require('rqlite-js')

const told = JSON.parse(process.env.RQ_TOLD)
const host = (port) => `http://localhost:${port}`
const everyone = [told.leader, ...told.followers].map(host)
const httpAgent = new http.Agent({ keepAlive: true })
let calls = 0

// Counts every request that the library makes, its own retries and redirects included.
for (const client of [DataApiClient, BackupApiClient, StatusApiClient]) {
  const plain = client.prototype.fetch
  client.prototype.fetch = function fetch (...given) {
    calls += 1
    return plain.apply(this, given)
  }
}

const data = new DataApiClient(everyone, { httpAgent })
const through = (port, options = {}) => new DataApiClient(host(port), { httpAgent, ...options })

async function execute (sql, options) {
  const results = await data.execute(sql, options)
  assert.equal(results.getFirstError(), undefined)
  return results
}

async function rows (sql, options, client = data) {
  const results = await client.query(sql, options)
  assert.equal(results.getFirstError(), undefined)
  return results.toArray()
}

const tests = {
  async statusIsWhatTheLibraryReads () {
    const status = new StatusApiClient(everyone, { httpAgent })
    const { body } = await status.status()
    for (const key of ['build', 'http', 'node', 'runtime', 'store']) {
      assert.ok(key in body, key)
    }
    const all = await status.statusAllHosts()
    assert.deepEqual(all.map((s) => s.response.body.store.ready), [true, true, true])
  },

  async writeAndRead () {
    await execute('CREATE TABLE foo (id integer not null primary key, name text)')
    const first = (await execute('INSERT INTO foo(name) VALUES("fiona")')).get(0)
    assert.deepEqual([first.getLastInsertId(), first.getRowsAffected()], [1, 1])
    assert.deepEqual(await rows('SELECT id, name FROM foo WHERE name="fiona"'), [{ id: 1, name: 'fiona' }])
    assert.equal((await execute('UPDATE foo SET name="justin"')).get(0).getRowsAffected(), 1)
    assert.deepEqual(await rows('SELECT name FROM foo'), [{ name: 'justin' }])
    assert.equal((await execute('DELETE FROM foo WHERE name="justin"')).get(0).getRowsAffected(), 1)
    assert.equal((await data.query('SELECT COUNT(id) AS total FROM foo')).get(0).get('total'), 0)
    assert.deepEqual((await data.query('SELECT * FROM foo')).get(0).toObject(), {})
  },

  async aHundredRowsInOneTransaction () {
    const each = Array.from({ length: 100 }, (_, i) => i)
    const inserted = await execute(each.map((i) => `INSERT INTO foo(name) VALUES("justin-${i}")`), { transaction: true })
    each.forEach((i) => assert.deepEqual([inserted.get(i).getRowsAffected(), inserted.get(i).getLastInsertId()], [1, i + 1]))
    const found = await rows(each.map((i) => `SELECT name FROM foo WHERE name="justin-${i}"`))
    assert.deepEqual(found, each.map((i) => ({ name: `justin-${i}` })))
    // The number of the last insert stays: nothing was changed by DROP TABLE.
    assert.equal((await execute('DROP TABLE foo')).get(0).getRowsAffected(), 1)
  },

  async aFailedTransactionLeavesNothing () {
    await execute('CREATE TABLE once (n INTEGER UNIQUE)')
    const failed = await data.execute(['INSERT INTO once VALUES(1)', 'INSERT INTO once VALUES(1)', 'INSERT INTO once VALUES(2)'],
      { transaction: true })
    assert.equal(failed.hasError(), true)
    assert.equal(failed.getFirstError().message, 'UNIQUE constraint failed: once.n')
    assert.deepEqual(await rows('SELECT count(*) AS n FROM once'), [{ n: 0 }])
    const partly = await data.execute(['INSERT INTO once VALUES(1)', 'INSERT INTO once VALUES(1)', 'INSERT INTO once VALUES(2)'])
    assert.equal(partly.getResults().length, 3)
    assert.deepEqual(await rows('SELECT count(*) AS n FROM once'), [{ n: 2 }])
  },

  async parameters () {
    await execute('CREATE TABLE given (i INTEGER, r REAL, t TEXT, b BLOB, d DATETIME, f BOOLEAN)')
    const values = [7, 2.5, 'it\'s "quoted" <&> 漢字 😀', [0, 1, 254, 255], '2024-02-29 23:59:58.5', true]
    await execute([['INSERT INTO given VALUES(?,?,?,?,?,?)', ...values]])
    await execute([['INSERT INTO given(i,t) VALUES(:i,:t)', { i: 8, t: null }]])
    assert.deepEqual(await rows('SELECT * FROM given WHERE i=7'), [{
      i: 7, r: 2.5, t: values[2], b: Buffer.from(values[3]).toString('base64'), d: '2024-02-29T23:59:58.5Z', f: true,
    }])
    assert.deepEqual(await rows([['SELECT i FROM given WHERE t IS NULL AND i=?', 8]]), [{ i: 8 }])
  },

  async errorsAreResults () {
    const results = await data.query(['SELECT 1 AS a', 'SELECT * FROM nowhere', 'SELECT 2 AS a'])
    assert.deepEqual([results.get(0).get('a'), results.get(1).message, results.get(2).get('a')], [1, 'no such table: nowhere', 2])
    await assert.rejects(data.execute([7]), (e) => e.response.status === 400)
  },

  async timingsAndPretty () {
    const results = await data.query('SELECT 1 AS a', { timings: true, pretty: true })
    assert.ok(results.getTime() > 0 && results.get(0).getTime() >= 0)
    assert.equal(results.get(0).get('a'), 1)
  },

  async everyLevelOnEveryNode () {
    await execute('CREATE TABLE levels (n INTEGER)')
    for (const [i, port] of [told.leader, ...told.followers].entries()) {
      const one = through(port)
      assert.equal((await one.execute(`INSERT INTO levels VALUES(${i})`)).getFirstError(), undefined)
      for (const level of ['weak', 'linearizable', 'strong', undefined]) {
        assert.deepEqual(await rows('SELECT count(*) AS n FROM levels', { level }, one), [{ n: i + 1 }])
      }
      assert.ok((await rows('SELECT 1 AS n', { level: 'none' }, one))[0].n === 1)
    }
  },

  async manyAtOnce () {
    await execute('CREATE TABLE crowd (n INTEGER UNIQUE)')
    const ports = [told.leader, ...told.followers]
    await Promise.all(Array.from({ length: 150 }, (_, i) => through(ports[i % 3]).execute(`INSERT INTO crowd VALUES(${i})`)))
    assert.deepEqual(await rows('SELECT count(*) AS n, sum(n) AS s FROM crowd', { level: 'strong' }), [{ n: 150, s: 11175 }])
  },

  async redirectsAreFollowed () {
    const one = through(told.followers[0])
    const before = calls
    const { status, body } = await one.fetch({ uri: '/db/execute', httpMethod: 'POST', query: { redirect: true }, body: ['CREATE TABLE moved (n)'] })
    assert.deepEqual([status, calls - before, body.results.length], [200, 2, 1])
    assert.deepEqual(await rows('SELECT count(*) AS n FROM moved'), [{ n: 0 }])
  },

  async queued () {
    await execute('CREATE TABLE queued (n INTEGER)')
    for (let i = 0; i < 20; i += 1) {
      const { body } = await data.fetch({ uri: '/db/execute', httpMethod: 'POST', query: { queue: true, wait: i === 19 || undefined }, body: [`INSERT INTO queued VALUES(${i})`] })
      assert.ok(body.sequence_number > 1e18)
    }
    assert.deepEqual((await rows('SELECT n FROM queued ORDER BY rowid')).map((r) => r.n), Array.from({ length: 20 }, (_, i) => i))
  },

  async backups () {
    const backup = new BackupApiClient(everyone, { httpAgent })
    await execute('CREATE TABLE kept (n INTEGER)')
    await execute('INSERT INTO kept VALUES(7)')
    const collect = async (stream) => {
      const parts = []
      for await (const part of stream) parts.push(Buffer.from(part))
      return Buffer.concat(parts)
    }
    assert.equal((await collect(await backup.backup())).subarray(0, 15).toString(), 'SQLite format 3')
    const text = (await collect(await backup.backup('sql'))).toString()
    assert.ok(text.includes('INSERT INTO "kept" VALUES(7);\n') && text.endsWith('COMMIT;\n'))
    await collect(await backup.load('CREATE TABLE brought (n INTEGER); INSERT INTO brought VALUES(8)'))
    assert.deepEqual(await rows('SELECT n FROM brought'), [{ n: 8 }])
  },

  async credentials () {
    const authentication = { username: told.user, password: told.password }
    const known = through(told.guarded, { authentication })
    assert.equal((await known.execute('CREATE TABLE secret (n)')).getFirstError(), undefined)
    assert.deepEqual(await rows('SELECT count(*) AS n FROM secret', {}, known), [{ n: 0 }])
    for (const wrong of [{}, { authentication: { ...authentication, password: 'wrong' } }]) {
      const stranger = through(told.guarded, wrong)
      await assert.rejects(stranger.query('SELECT 1'), (e) => e.response.status === 401)
      await assert.rejects(stranger.execute('INSERT INTO secret VALUES(1)'), (e) => e.response.status === 401)
    }
  },

  // The library goes on to the next host by itself, on refused connections and on 503. While the followers still believe in
  // the dead leader they answer 200 with an error for the whole request, which it does not look at: no results, then.
  async theLeaderDies () {
    await execute('CREATE TABLE survives (n INTEGER)')
    console.log('kill the leader')
    const [answer] = await new Promise((resolve) => {
      readline.createInterface({ input: process.stdin }).once('line', (line) => resolve([line]))
    })
    assert.equal(answer, 'killed')
    const patient = new DataApiClient(everyone, { exponentailBackoffBase: 300, exponentailBackoffExponent: 1.2 })
    const answered = async (ask) => {
      for (let i = 0; i < 100; i += 1) {
        const results = await ask()
        if (results.getResults().length > 0) return results.toArray()
        await new Promise((resolve) => { setTimeout(resolve, 50) })
      }
      throw new Error('no results after the death of the leader')
    }
    assert.deepEqual(await answered(() => patient.execute('INSERT INTO survives VALUES(1)')), [{}])
    const found = await answered(() => patient.query('SELECT count(*) > 0 AS there FROM survives', { level: 'linearizable' }))
    assert.deepEqual(found, [{ there: 1 }])
  },
}

let failed = 0
for (const [name, test] of Object.entries(tests)) {
  try {
    await test()
  } catch (e) {
    failed += 1
    console.log(`FAIL ${name}: ${e.stack ?? e}`)
  }
}
console.log(`${Object.keys(tests).length} tests, ${failed} failed, ${calls} calls of rqlite-js`)
process.exit(failed ? 1 : 0)
