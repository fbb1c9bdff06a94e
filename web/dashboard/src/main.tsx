import { createRoot } from 'react-dom/client'
import { App } from './App.js'
import './page.css'

createRoot(document.getElementById('page')!).render(<App />)
