// The page and the API share an origin, as they would behind one host: no CORS, and the page's own cookies.
export default { server: { proxy: { '/api': 'http://127.0.0.1:3000' } } }
